/** A server on loopback whose packets are lost from one moment on: nothing is refused, nothing answered. */

import { run } from './sandbox.js';

/** `refuse` answers a new connection at once that there is nobody; `drop` answers nothing. */
export type Loss = 'drop' | 'refuse';

const targets: Readonly<Record<Loss, string[]>> = {
  drop: ['DROP'],
  refuse: ['REJECT', '--reject-with', 'tcp-reset'],
};

const rule = (host: string, how: Loss): string[] => {
  const [address = '', port = ''] = host.split(':');
  return ['INPUT', '-i', 'lo', '-p', 'tcp', '-d', address, '--dport', port, '-j', ...targets[how]];
};

/** Why packets cannot be dropped here; `undefined` where they can. */
export async function droppingMissing(): Promise<string | undefined> {
  const { code, stderr } = await run('iptables', ['-w', '-n', '-L', 'INPUT']).catch(() => ({
    code: -1,
    stderr: 'no iptables',
  }));
  return code === 0 ? undefined : stderr.trim();
}

/** Loses what is sent to `host`, `address:port`, until disposed of. */
export async function dropPacketsTo(host: string, how: Loss = 'drop'): Promise<AsyncDisposable> {
  await iptables('-I', ...rule(host, how));
  return { [Symbol.asyncDispose]: () => iptables('-D', ...rule(host, how)) };
}

async function iptables(...args: string[]): Promise<void> {
  const { code, stderr } = await run('iptables', ['-w', ...args]);
  if (code !== 0) throw new Error(`iptables ${args.join(' ')}: ${stderr}`);
}

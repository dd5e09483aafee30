/** A server on loopback whose packets are lost from one moment on: nothing is refused, nothing answered. */

import { run } from './sandbox.js';

const rule = (host: string): string[] => {
  const [address = '', port = ''] = host.split(':');
  return ['INPUT', '-i', 'lo', '-p', 'tcp', '-d', address, '--dport', port, '-j', 'DROP'];
};

/** Why packets cannot be dropped here; `undefined` where they can. */
export async function droppingMissing(): Promise<string | undefined> {
  const { code, stderr } = await run('iptables', ['-w', '-n', '-L', 'INPUT']).catch(() => ({
    code: -1,
    stderr: 'no iptables',
  }));
  return code === 0 ? undefined : stderr.trim();
}

/** Drops what is sent to `host`, `address:port`, until disposed of. */
export async function dropPacketsTo(host: string): Promise<AsyncDisposable> {
  await iptables('-I', ...rule(host));
  return { [Symbol.asyncDispose]: () => iptables('-D', ...rule(host)) };
}

async function iptables(...args: string[]): Promise<void> {
  const { code, stderr } = await run('iptables', ['-w', ...args]);
  if (code !== 0) throw new Error(`iptables ${args.join(' ')}: ${stderr}`);
}

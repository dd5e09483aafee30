/**
 * A CNI network for pods: a bridge with masquerading, of Debian's plugins. What the plugins leave on
 * the machine by design (the bridge, forwarding, their own folders) is put back at the end.
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Outcome, run } from './sandbox.js';

export interface PodNetwork extends AsyncDisposable {
  name: string;
  bridge: string;
  /** First parts of the pods' addresses: `198.18.7.` */
  prefix: string;
  /** Folder of the network's configuration. */
  configurations: string;
  /** NAT rules that carry the network's name. */
  rules(): Promise<string[]>;
}

/** Where Debian's containernetworking-plugins puts them. */
export const cniPlugins = '/usr/lib/cni';
const forwarding = '/proc/sys/net/ipv4/ip_forward';
/** libcni's, and not to be configured in containerd 1.6. */
const cache = '/var/lib/cni';

/** Why no pod can have a network of its own here, or `undefined`; for tests that skip. */
export async function podNetworkMissing(): Promise<string | undefined> {
  for (const plugin of ['bridge', 'host-local', 'loopback']) {
    if (!existsSync(join(cniPlugins, plugin))) return `needs ${cniPlugins}/${plugin}`;
  }
  const probe = `sp${randomBytes(4).toString('hex')}`;
  const { code } = await run('ip', ['link', 'add', probe, 'type', 'bridge']);
  await run('ip', ['link', 'del', probe]);
  if (code !== 0) return 'needs a kernel with bridges';
  return (await iptables('-S')).code === 0 ? undefined : 'needs NAT';
}

/** @param folder of the caller's, for the configuration and the addresses given out */
export async function makePodNetwork(folder: string): Promise<PodNetwork> {
  const id = randomBytes(4);
  const name = `siphon-${id.toString('hex')}`;
  const bridge = `sp${id.toString('hex')}`;
  // The range that RFC 2544 sets aside for tests.
  const prefix = `198.18.${id[0] ?? 0}.`;
  const configurations = join(folder, 'cni');
  const forwarded = await readFile(forwarding, 'utf8');
  const hadCache = existsSync(cache);
  await mkdir(configurations, { recursive: true });
  const plugin = {
    type: 'bridge',
    bridge,
    isGateway: true,
    ipMasq: true,
    ipam: {
      type: 'host-local',
      dataDir: join(folder, 'addresses'),
      ranges: [[{ subnet: `${prefix}0/24` }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
  await writeFile(
    join(configurations, '10-siphon.conflist'),
    JSON.stringify({ cniVersion: '0.4.0', name, plugins: [plugin] }),
  );
  const rules = async (): Promise<string[]> => {
    const { code, stdout, stderr } = await iptables('-S');
    if (code !== 0) throw new Error(`iptables: ${stderr}`);
    return stdout.split('\n').filter((line) => line.includes(name));
  };
  return {
    name,
    bridge,
    prefix,
    configurations,
    rules,
    async [Symbol.asyncDispose]() {
      await removeRules(await rules());
      await run('ip', ['link', 'del', bridge]);
      if (forwarded !== (await readFile(forwarding, 'utf8')))
        await writeFile(forwarding, forwarded);
      await forgetResults(name);
      if (!hadCache) await removeEmpty(cache);
    },
  };
}

/** What a pod's removal takes with it, where a test ended before that. */
async function removeRules(rules: readonly string[]): Promise<void> {
  const chains = new Set<string>();
  for (const rule of rules) {
    const chain = /-j (CNI-\S+)/.exec(rule)?.[1];
    const [, table = '', rest = ''] = /^-A (\S+) (.*)$/.exec(rule) ?? [];
    if (chain !== undefined) chains.add(chain);
    if (!table.startsWith('CNI-')) await iptables('-D', table, ...words(rest));
  }
  for (const chain of chains) {
    await iptables('-F', chain);
    await iptables('-X', chain);
  }
}

/** Waits for whoever else changes tables. */
function iptables(...args: string[]): Promise<Outcome> {
  return run('iptables', ['-w', '-t', 'nat', ...args]);
}

/** As a shell would part them: quoted text is one word, with its escapes undone. */
function words(text: string): string[] {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, bare = '']) => quoted?.replace(/\\(.)/g, '$1') ?? bare,
  );
}

async function forgetResults(network: string): Promise<void> {
  const results = join(cache, 'results');
  const names = await readdir(results).catch(() => []);
  const pods = names.flatMap((name) => {
    const [, pod = ''] = /-([0-9a-f]{64})-/.exec(name) ?? [];
    return name.startsWith(`${network}-`) && pod !== '' ? [pod] : [];
  });
  // The loopback of a pod has a result of its own.
  for (const name of names.filter((one) => pods.some((pod) => one.includes(pod)))) {
    await rm(join(results, name), { force: true });
  }
}

async function removeEmpty(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    await rmdir(join(folder, name)).catch(() => undefined);
  }
  await rmdir(folder).catch(() => undefined);
}

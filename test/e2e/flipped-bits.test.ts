/** A host that flips bits in whatever it sends: another is asked, and where there is none, nobody reads what it sent. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Digest } from '#src/common/digest.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { buildLayout, file, noise } from '../support/images.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Outcome, type Sandbox, must, openSandbox } from '../support/sandbox.js';

const contents = Array.from({ length: 3 }, (_, n) => noise(2 << 20, `flip ${n}`));
const TAGS = ['indexed', 'streamed', 'plain'] as const;

let shared: Sandbox;
let registry: DockerRegistry;
let proxy: RegistryProxy;
const layers = new Map<string, Digest>();

beforeAll(async () => {
  shared = await openSandbox();
  registry = await startDockerRegistry();
  proxy = await startRegistryProxy(registry.host);
  for (const tag of TAGS) {
    const { layout, layers: built } = await buildLayout(join(shared.directory, tag), {
      tag: 'latest',
      layers: [[...contents.map((bytes, n) => file(`file-${n}`, bytes)), file(tag)]],
      ...(tag === 'plain' ? { compression: 'none' as const } : {}),
    });
    layers.set(tag, built[0]?.digest ?? ('' as Digest));
    const to = `docker://${registry.host}/app:${tag}`;
    const how = ['copy', '-q', '--preserve-digests', '--dest-tls-verify=false'];
    await must('skopeo', ...how, `oci:${layout}:latest`, to);
  }
  await using publisher = await openSandbox();
  for (const command of ['build', 'push']) {
    const done = await publisher.siphon('index', command, `docker://${registry.host}/app:indexed`);
    expect(done, done.stderr).toMatchObject({ code: 0 });
  }
}, 60_000);

beforeEach(() => {
  proxy.alter = () => undefined;
  proxy.requests.length = 0;
});

afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await registry?.close();
  await shared?.[Symbol.asyncDispose]();
});

/** Flips the lowest bit of a byte in the middle of every piece of what is sent for such requests. */
function flip(isMeant: (line: string) => boolean): void {
  proxy.alter = (line, bytes) => {
    const middle = bytes.length >> 1;
    if (isMeant(line) && bytes.length > 0) bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  };
}

/** Mounts `tag` as the registry has it, or as the proxy in front of it does. */
async function mount(sandbox: Sandbox, tag: string, host: string): Promise<Outcome> {
  const hosts = await sandbox.folder('hosts');
  await mkdir(join(hosts, registry.host), { recursive: true });
  const mirror = `[host."http://${proxy.host}"]\n`;
  await writeFile(join(hosts, registry.host, 'hosts.toml'), mirror);
  const directory = await sandbox.folder('mnt');
  const options = ['--hosts-dir', hosts, '--fill-after', 'never'];
  return sandbox.siphon(...options, 'mount', `docker://${host}/app:${tag}`, directory);
}

const fileOf = (sandbox: Sandbox, n: number): Promise<Buffer> =>
  readFile(join(sandbox.directory, 'mnt', `file-${n}`));

it.each(TAGS)(
  'in everything: the next host is asked, for a layer that is %s',
  async (tag) => {
    flip(() => true);
    await using sandbox = await openSandbox();
    const outcome = await mount(sandbox, tag, registry.host);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    for (const [n, content] of contents.entries())
      expect(content.equals(await fileOf(sandbox, n)), `file-${n}`).toBe(true);
    // It was asked first, for the layer too.
    const blob = `/blobs/${layers.get(tag)}`;
    expect(proxy.requests.some((line) => line.includes(blob))).toBe(true);
  },
  60_000,
);

it.each(['indexed', 'plain'])(
  'in the contents of a layer that is %s, and nobody else has it: EIO',
  async (tag) => {
    await using sandbox = await openSandbox();
    // The headers of a plain tar are read before.
    const outcome = await mount(sandbox, tag, proxy.host);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    flip((line) => line.includes(`/blobs/${layers.get(tag)}`));
    await expect(fileOf(sandbox, 1)).rejects.toMatchObject({ code: 'EIO' });
    proxy.alter = () => undefined;
    if (tag === 'indexed') expect(contents[1]?.equals(await fileOf(sandbox, 1))).toBe(true);
  },
  60_000,
);

it.each([
  ['manifest', (line: string) => line.includes('/manifests/')],
  ['layer that is streamed', (line: string) => line.includes(`/blobs/${layers.get('streamed')}`)],
])(
  'in a %s, and nobody else has it: no mount',
  async (_, isMeant) => {
    flip(isMeant);
    await using sandbox = await openSandbox();
    const outcome = await mount(sandbox, 'streamed', proxy.host);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/digest|damaged|corrupt|sha256/);
    expect(await sandbox.mounts()).toEqual([]);
  },
  60_000,
);

it('in a published index, and nobody else has it: the layer is not served by it', async () => {
  flip((line) => line.includes('/blobs/') && !line.includes(`${layers.get('indexed')}`));
  await using sandbox = await openSandbox();
  const outcome = await mount(sandbox, 'indexed', proxy.host);
  expect(outcome.code).toBe(1);
  expect(outcome.stderr).toMatch(/digest/);
}, 60_000);

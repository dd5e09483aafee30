import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { ImageDatabase } from '#src/content/image-database.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import {
  type BuiltImage,
  buildIndexLayout,
  buildLayout,
  file,
  hostPlatform,
  noise,
} from '../support/images.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Outcome, type Sandbox, must, openSandbox } from '../support/sandbox.js';

const layers = [
  [file('etc/a', 'a'), file('data', noise(5_000_000))],
  [file('b', noise(300_000, 'b'))],
];

/** Each test runs up to nine commands. */
vi.setConfig({ testTimeout: 120_000 });

let sandbox: Sandbox;
let registry: DockerRegistry;
let proxy: RegistryProxy;
let built: BuiltImage;
let name: string;
beforeEach(async () => {
  sandbox = await openSandbox();
  registry = await startDockerRegistry();
  proxy = await startRegistryProxy(registry.host);
  const layout = join(sandbox.directory, 'layout');
  built = await buildLayout(layout, { tag: 'v1', layers, config: { Cmd: ['true'] } });
  name = `${proxy.host}/app:v1`;
  await must(
    'skopeo',
    'copy',
    '-q',
    '--dest-tls-verify=false',
    `oci:${layout}:v1`,
    `docker://${registry.host}/app:v1`,
  );
}, 60_000);
afterEach(async () => {
  await proxy[Symbol.asyncDispose]();
  await registry.close();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
});

async function siphon(...args: string[]): Promise<Outcome> {
  const outcome = await sandbox.siphon(...args);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  return outcome;
}

async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse((await siphon('--json', ...args)).stdout) as T;
}

interface Listed {
  name: string;
  target: string;
  sizeInRegistry: number;
  sizeOnDisk: number;
  fetched: number;
  presence: string;
}

function list(): Promise<Listed[]> {
  return json<Listed[]>('images');
}

async function blobsHere(): Promise<string[]> {
  return (await readdir(join(sandbox.root, 'content/blobs/sha256'))).toSorted();
}

/** The numbers of the layers here. */
async function layersHere(): Promise<string[]> {
  return (await readdir(join(sandbox.root, 'layers'))).filter((entry) => /^\d+$/.test(entry));
}

/** Publishes indexes, from a root of their own, so that a pull brings no layer. */
async function publish(): Promise<void> {
  await using publisher = await openSandbox();
  const done = await publisher.siphon('index', 'build', '--push', `${registry.host}/app:v1`);
  expect(done, done.stderr).toMatchObject({ code: 0 });
}

const hexes = (blobs: readonly { digest: string }[]): string[] =>
  blobs.map(({ digest }) => digest.slice('sha256:'.length));

describe('images', () => {
  it('are listed with what of them is here, tagged, and gone with their last name', async () => {
    await siphon('pull', name);
    const size = [built.manifest, built.config, ...built.layers].reduce((s, d) => s + d.size, 0);
    const [image] = await list();
    expect(image).toMatchObject({
      name,
      target: built.manifest.digest,
      sizeInRegistry: size,
      fetched: 1,
      presence: 'whole',
    });
    expect(image?.sizeOnDisk).toBeGreaterThan(size);
    expect((await siphon('images')).stdout).toMatch(
      /^NAME +DIGEST +IN REGISTRY +ON DISK +FETCHED +STATE\n127.*app:v1 +sha256:[0-9a-f]{12} .* 100 % +whole\n$/,
    );
    await siphon('tag', name, 'example.org/other:1');
    await siphon('gc');
    await siphon('rmi', name);
    expect((await list()).map((one) => one.name)).toEqual(['example.org/other:1']);
    expect(await blobsHere()).toEqual(
      hexes([built.manifest, built.config, ...built.layers]).toSorted(),
    );
    await siphon('rmi', 'example.org/other:1');
    expect(await list()).toEqual([]);
    expect(await blobsHere()).toEqual([]);
    expect(await layersHere()).toEqual([]);
    expect(await readdir(join(sandbox.root, 'content/memo'))).toEqual([]);
    expect(await sandbox.siphon('rmi', name)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`Cannot remove image "${name}"`),
    });
  });

  it('pulled lazily are exported, copied and pushed whole', async () => {
    await publish();
    await siphon('pull', name);
    expect(await list()).toMatchObject([{ fetched: 0, presence: 'lazy' }]);
    expect(await blobsHere()).not.toContain(hexes(built.layers)[0]);
    const archive = join(sandbox.directory, 'image.tar');
    await siphon('export', name, `oci-archive:${archive}`);
    await must('skopeo', 'copy', '-q', `oci-archive:${archive}`, `dir:${sandbox.directory}/dir`);
    const manifest = await readFile(join(sandbox.directory, 'dir/manifest.json'));
    expect(JSON.parse(manifest.toString())).toMatchObject({
      layers: built.layers.map(({ digest }) => ({ digest })),
    });
    expect(await list()).toMatchObject([{ fetched: 1, presence: 'whole' }]);
    await siphon('push', name, `${registry.host}/copy/app:v2`);
    const raw = ['--raw', '--tls-verify=false', `docker://${registry.host}/copy/app:v2`];
    expect(await must('skopeo', 'inspect', ...raw)).toBe(manifest.toString());
  });

  it('pulled lazily are pushed to where the layers are without fetching them', async () => {
    await publish();
    await siphon('pull', name);
    const { stderr } = await siphon('--json', 'push', name, `${registry.host}/app:v2`);
    const statuses = new Set(events(stderr).map(({ status }) => status));
    expect(statuses).toEqual(new Set(['exists']));
    expect(await list()).toMatchObject([{ fetched: 0 }]);
  });

  it.each(['docker-archive', 'oci-archive', 'oci'])(
    'go out as %s and come in again',
    async (transport) => {
      await siphon('pull', name);
      const target = `${transport}:${join(sandbox.directory, `out-${transport}`)}`;
      await siphon('export', name, target);
      const inspected = JSON.parse(await must('skopeo', 'inspect', '--config', target)) as {
        rootfs: { diff_ids: string[] };
      };
      expect(inspected.rootfs.diff_ids).toEqual(built.diffIds);
      await siphon('rmi', name);
      await siphon('import', target, 'again:1');
      await siphon('gc');
      const [image] = await list();
      expect(image).toMatchObject({ name: 'docker.io/library/again:1', presence: 'whole' });
      const folder = await sandbox.folder('mnt');
      await siphon('mount', 'again:1', folder);
      try {
        expect(await readFile(join(folder, 'etc/a'), 'utf8')).toBe('a');
      } finally {
        await siphon('umount', folder);
      }
    },
  );

  it.each(['oci-archive', 'docker-archive'])('come in as skopeo writes %s', async (transport) => {
    const source = `${transport}:${join(sandbox.directory, 'in.tar')}:example.org/in:1`;
    await must('skopeo', 'copy', '-q', `oci:${built.layout}:v1`, source);
    await siphon('import', source);
    expect(await list()).toMatchObject([
      { name: 'example.org/in:1', presence: 'whole', fetched: 1 },
    ]);
    const folder = await sandbox.folder('in');
    await siphon('unpack', 'example.org/in:1', folder);
    expect(await readFile(join(folder, 'etc/a'), 'utf8')).toBe('a');
    expect(digestOf(await readFile(join(folder, 'data')))).toBe(digestOf(noise(5_000_000)));
  });

  it('keep the name that their archive gives them, and say so where there is none', async () => {
    const archive = join(sandbox.directory, 'saved.tar');
    const layout = `oci:${built.layout}:v1`;
    await must('skopeo', 'copy', '-q', layout, `docker-archive:${archive}:example.org/saved:3`);
    await siphon('import', `docker-archive:${archive}`);
    expect(await list()).toMatchObject([{ name: 'example.org/saved:3' }]);
    expect(await sandbox.siphon('import', layout)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("it does not say the image's name"),
    });
    expect(await sandbox.siphon('import', name)).toMatchObject({ code: 2 });
  });

  it('for several platforms are handed on for one, or for all', async () => {
    const layout = join(sandbox.directory, 'multi');
    const { index } = await buildIndexLayout(layout, {
      tag: 'latest',
      images: [
        { platform: hostPlatform(), layers: [[file('a', 'mine')]] },
        { platform: { os: 'linux', architecture: 'riscv64' }, layers: [[file('a', 'other')]] },
      ],
    });
    const multi = `${proxy.host}/multi:latest`;
    const there = `docker://${registry.host}/multi:latest`;
    await must('skopeo', 'copy', '-q', '-a', '--dest-tls-verify=false', `oci:${layout}`, there);
    await siphon('pull', multi);
    const all = `oci:${join(sandbox.directory, 'all')}`;
    const one = `oci:${join(sandbox.directory, 'one')}`;
    await siphon('export', '--all-platforms', multi, all);
    await siphon('export', multi, one);
    expect(JSON.parse(await must('skopeo', 'inspect', '--raw', all))).toMatchObject({
      manifests: [{}, {}],
    });
    expect(JSON.parse(await must('skopeo', 'inspect', '--raw', one))).toMatchObject({
      layers: [{}],
    });
    const { digest } = await json<{ digest: string }>(
      'push',
      '--all-platforms',
      multi,
      `${registry.host}/all:1`,
    );
    expect(digest).toBe(index.digest);
  });

  it('go to a docker archive under a whole name, and nowhere where no file can be', async () => {
    await siphon('import', `oci:${built.layout}:v1`, 'given:1');
    const archive = join(sandbox.directory, 'named.tar');
    await siphon('export', 'given:1', `docker-archive:${archive}:short`);
    expect(JSON.parse(await must('tar', '-xOf', archive, 'manifest.json'))).toMatchObject([
      { RepoTags: ['docker.io/library/short:latest'] },
    ]);
    const nowhere = `oci-archive:${join(sandbox.directory, 'none/x.tar')}`;
    expect(await sandbox.siphon('export', 'given:1', nowhere)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ENOENT'),
    });
    expect(await json('rmi', 'given:1', 'given:1')).toMatchObject({
      removed: ['docker.io/library/given:1'],
    });
  });

  it('for other platforms alone are handed on with all', async () => {
    const layout = join(sandbox.directory, 'other');
    const platform = { os: 'linux', architecture: 'riscv64' };
    const images = [{ platform, layers: [[file('a', 'other')]] }];
    const { index } = await buildIndexLayout(layout, { tag: 'latest', images });
    const there = `oci:${layout}:latest`;
    await siphon('import', there, 'other:1');
    const again = `oci:${join(sandbox.directory, 'again')}`;
    await siphon('export', '--all-platforms', 'other:1', again);
    expect(JSON.parse(await must('skopeo', 'inspect', '--raw', again))).toMatchObject({
      manifests: [{ platform }],
    });
    const pushed = ['push', '--all-platforms', 'other:1', `${registry.host}/other:1`];
    expect(await json(...pushed)).toMatchObject({ digest: index.digest });
  });

  it('tell how they come, an event a line', async () => {
    const { stderr, stdout } = await siphon('--json', 'pull', name);
    expect(JSON.parse(stdout)).toMatchObject({ name, digest: built.manifest.digest });
    for (const { digest, size } of built.layers) {
      const own = events(stderr).filter((event) => event.digest === digest);
      expect(own[0]).toMatchObject({ status: 'waiting', done: 0, total: size });
      expect(own.at(-1)).toMatchObject({ status: 'ready', done: size, total: size });
      expect(own.every(({ elapsed }) => elapsed >= 0)).toBe(true);
    }
  });
});

describe('siphon gc', () => {
  it('removes what nothing leads to, and keeps what a mount holds', async () => {
    const folder = await sandbox.folder('mnt');
    await siphon('mount', name, folder);
    await writeFile(join(sandbox.root, 'content/ingest', '0'.repeat(64)), 'left');
    await siphon('rmi', name);
    expect(await layersHere()).toHaveLength(2);
    expect(await readFile(join(folder, 'etc/a'), 'utf8')).toBe('a');
    expect(digestOf(await readFile(join(folder, 'data')))).toBe(digestOf(noise(5_000_000)));
    await siphon('umount', folder);
    await expect
      .poll(async () => (await json<{ layers: string[] }>('gc'), layersHere()), { timeout: 20_000 })
      .toEqual([]);
    expect(await blobsHere()).toEqual([]);
  });

  it('waits for a process that is looking an image up, and spares what that brings', async () => {
    await siphon('pull', name);
    using images = ImageDatabase.open(sandbox.root);
    images.remove(name);
    const lease = await images.lease();
    expect(await json('gc')).toMatchObject({ waitedFor: process.pid, blobs: [] });
    lease.add([built.manifest]);
    expect(await json('gc')).toMatchObject({ blobs: [], layers: [] });
    expect(await blobsHere()).toHaveLength(4);
    lease.end();
    expect(await json<{ blobs: string[] }>('gc')).toMatchObject({
      blobs: { length: 4 },
      layers: { length: 2 },
    });
  });
});

interface Event {
  digest: string;
  status: string;
  done: number;
  total: number;
  elapsed: number;
}

function events(stderr: string): Event[] {
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('{"digest"'))
    .map((line) => JSON.parse(line) as Event);
}

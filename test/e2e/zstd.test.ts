import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Containerd, startContainerd } from '../../bench/programs/containerd.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import {
  ZSTD_HUGE_WINDOW,
  ZSTD_MANY_FRAMES,
  ZSTD_ONE_FRAME,
  recompress,
} from '../support/recompress.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Tree, readTree } from '../support/tree.js';

let shared: Sandbox;
let image: DemoLayout;
let expected: Tree;
let registry: DockerRegistry;

beforeAll(async () => {
  shared = await openSandbox();
  registry = await startDockerRegistry();
  image = await writeSmallLayout(shared, 'none');
  expected = await mountedTree(shared, image.source);
}, 120_000);

afterAll(async () => {
  await registry?.close();
  await shared[Symbol.asyncDispose]();
});

/** Each pushes the image to `reference`, with its layers as zstd. */
const writers: [string, (reference: string) => Promise<void>][] = [
  [
    'of skopeo',
    (reference) => copy(image.source, reference, '--dest-compress', '--dest-compress-format=zstd'),
  ],
  ['of buildah', pushByBuildah],
  ['of one frame', (reference) => pushRecompressed(reference, 'one', ZSTD_ONE_FRAME)],
  ['of many frames', (reference) => pushRecompressed(reference, 'many', ZSTD_MANY_FRAMES)],
];

async function copy(source: string, reference: string, ...options: string[]): Promise<void> {
  const to = ['--dest-tls-verify=false', `docker://${reference}`];
  await must('skopeo', 'copy', '-q', ...options, source, ...to);
}

async function pushByBuildah(reference: string): Promise<void> {
  const store = ['--root', join(shared.directory, 'buildah'), '--storage-driver', 'vfs'];
  const zstd = ['--compression-format', 'zstd', '--tls-verify=false'];
  const plain = `${registry.host}/plain:latest`;
  await copy(image.source, plain);
  await must('buildah', ...store, 'pull', '-q', '--tls-verify=false', plain);
  const id = await must('buildah', ...store, 'images', '-q');
  await must('buildah', ...store, 'push', '-q', ...zstd, id.trim(), `docker://${reference}`);
}

async function pushRecompressed(
  reference: string,
  tag: string,
  compressor: typeof ZSTD_ONE_FRAME,
): Promise<void> {
  await recompress(image.layout, image.manifest, { tag, compressor });
  // Else skopeo takes what begins with a frame to skip for uncompressed, and compresses it.
  await copy(`oci:${image.layout}:${tag}`, reference, '--preserve-digests');
}

describe('layers in zstd', () => {
  it.each(writers)(
    '%s: siphon mount shows what it shows without compression',
    async (name, push) => {
      const reference = `${registry.host}/${name.replaceAll(' ', '-')}:latest`;
      await push(reference);
      await using sandbox = await openSandbox();
      expect(await mountedTree(sandbox, `docker://${reference}`)).toEqual(expected);
    },
    60_000,
  );

  it('are read from the registry with a published index', async () => {
    const reference = `${registry.host}/indexed:latest`;
    await pushRecompressed(reference, 'indexed', ZSTD_ONE_FRAME);
    await using publisher = await openSandbox();
    const built = await publisher.siphon('index', 'build', '--push', `docker://${reference}`);
    expect(built, built.stderr).toMatchObject({ code: 0 });
    expect(built.stdout).toContain('zstd');
    await using reader = await openSandbox();
    expect(await mountedTree(reader, `docker://${reference}`)).toEqual(expected);
  }, 60_000);

  it('run lazily under containerd; one that takes too much memory is left to it', async () => {
    await using sandbox = await openSandbox();
    const reference = `${registry.host}/containerd:latest`;
    await pushRecompressed(reference, 'containerd', ZSTD_MANY_FRAMES);
    const siphon = await startSiphonService(sandbox);
    let containerd: Containerd | undefined;
    try {
      containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
      await runLazily(containerd, siphon, reference);
      // Else its snapshots would be there already.
      await containerd.ctr(['images', 'rm', '--sync', reference]);
      const huge = `${registry.host}/huge:latest`;
      await pushRecompressed(huge, 'huge', ZSTD_HUGE_WINDOW);
      await rpull(containerd, huge);
      expect(await runIn(containerd, huge)).toBe('small files: 5\n');
      expect(siphon.log()).toContain('takes a window of more than 128 MiB');
    } finally {
      await containerd?.close();
      await siphon.stop();
    }
    expect(await sandbox.mounts()).toEqual([]);
  }, 60_000);
});

async function mountedTree(sandbox: Sandbox, source: string): Promise<Tree> {
  const directory = await sandbox.folder('mnt');
  const mounted = await sandbox.siphon('mount', source, directory);
  expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
  try {
    return await readTree(directory);
  } finally {
    await sandbox.siphon('umount', directory);
  }
}

async function rpull({ ctrRemote }: Containerd, reference: string): Promise<void> {
  await ctrRemote(['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference]);
}

function runIn({ runToEnd }: Containerd, reference: string): Promise<string> {
  return runToEnd(['--snapshotter', 'siphon', reference, 'test']);
}

async function runLazily(
  containerd: Containerd,
  siphon: SiphonService,
  reference: string,
): Promise<void> {
  await rpull(containerd, reference);
  expect(await runIn(containerd, reference)).toBe('small files: 5\n');
  // Nothing was unpacked: containerd has the manifest and the config, and no layer.
  const { stdout } = await containerd.ctr(['content', 'ls', '-q']);
  expect(stdout.trim().split('\n')).toHaveLength(2);
  expect(siphon.log()).not.toContain('unpack');
}

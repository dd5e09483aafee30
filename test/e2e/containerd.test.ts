import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Containerd,
  startContainerd,
  untilReconnected,
} from '../../bench/programs/containerd.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';

let sandbox: Sandbox;
let image: DemoLayout;
let registry: DockerRegistry;
let siphon: SiphonService;
let containerd: Containerd;

beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSmallLayout(sandbox);
  registry = await startDockerRegistry();
  siphon = await startSiphonService(sandbox);
  containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
}, 120_000);

afterAll(async () => {
  await containerd?.close();
  await siphon?.stop();
  await registry?.close();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

async function push(name: string): Promise<string> {
  const reference = `${registry.host}/${name}:latest`;
  await must(
    'skopeo',
    'copy',
    '-q',
    '--dest-tls-verify=false',
    image.source,
    `docker://${reference}`,
  );
  return reference;
}

function runIn(reference: string, ...command: string[]): Promise<string> {
  return containerd.runToEnd(['--snapshotter', 'siphon', reference, 'test', ...command]);
}

/** Digests of layer blobs in containerd's content store. */
async function layersInContainerd(): Promise<string[]> {
  const { stdout } = await containerd.ctr(['content', 'ls', '-q']);
  const digests = new Set<string>(image.layers.map((layer) => layer.digest));
  return stdout.split('\n').filter((digest) => digests.has(digest));
}

async function removeImage(reference: string): Promise<void> {
  await containerd.ctr(['images', 'rm', '--sync', reference]);
}

describe('containerd with siphon serve', () => {
  it.each([
    ['with published indexes', 'indexed'],
    ['without any index', 'bare'],
  ])(
    'pulls lazily %s and runs, with no layer in its content store',
    async (_, name) => {
      const reference = await push(name);
      if (name === 'indexed') {
        await using publisher = await openSandbox();
        const built = await publisher.siphon('index', 'build', '--push', `docker://${reference}`);
        expect(built, built.stderr).toMatchObject({ code: 0 });
      }
      const { ctrRemote } = containerd;
      await ctrRemote(['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference]);
      expect(await layersInContainerd()).toEqual([]);
      expect(await runIn(reference)).toBe('small files: 5\n');
      expect(await runIn(reference, 'ls', '/srv/site')).toBe('index.html\n');
      expect(await layersInContainerd()).toEqual([]);
      await removeImage(reference);
      // Another collection of containerd's may be at it.
      await expect.poll(() => sandbox.shownLayers()).toEqual([]);
    },
    60_000,
  );

  it('is an ordinary snapshotter for plain ctr', async () => {
    const reference = await push('plain');
    const { ctr } = containerd;
    await ctr(['images', 'pull', '--snapshotter', 'siphon', '--plain-http', reference]);
    expect(await layersInContainerd()).toHaveLength(image.layers.length);
    expect(await sandbox.shownLayers()).toEqual([]);
    expect(await runIn(reference)).toBe('small files: 5\n');
    await removeImage(reference);
  }, 60_000);

  it('runs zstd layers, however it serves them', async () => {
    const reference = `${registry.host}/zstd:latest`;
    const plain = await writeSmallLayout(sandbox, 'none');
    await must(
      'skopeo',
      'copy',
      '-q',
      '--dest-tls-verify=false',
      '--dest-compress-format=zstd',
      '--dest-compress',
      plain.source,
      `docker://${reference}`,
    );
    const { ctrRemote } = containerd;
    await ctrRemote(['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference]);
    expect(await runIn(reference)).toBe('small files: 5\n');
    await removeImage(reference);
  }, 60_000);

  it('runs a lazily pulled image after a restart', async () => {
    const reference = await push('restarted');
    const { ctrRemote } = containerd;
    await ctrRemote(['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference]);
    await siphon.stop();
    siphon = await startSiphonService(sandbox);
    await untilReconnected(containerd, 'siphon');
    expect(await runIn(reference)).toBe('small files: 5\n');
    await removeImage(reference);
  }, 60_000);
});

/** The lazy way through Debian's containerd: ctr-remote pulls no layer, and the container runs. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseDigest } from '#src/common/digest.js';
import { silentLogger } from '#src/common/log.js';
import { type SnapshotterServer, serveSnapshotter } from '#src/snapshotter/server.js';
import {
  type Containerd,
  containerdMissing,
  startContainerd,
} from '../../bench/programs/containerd.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { FolderLayers, unsupportedLayer } from '../support/folder-layers.js';
import {
  type ShellImage,
  buildShellImage,
  checkOutput,
  checkScript,
} from '../support/shell-image.js';

const programs = ['/usr/bin/ctr-remote', '/usr/bin/docker-registry', '/usr/bin/skopeo'];
const absent = programs.filter((program) => !existsSync(program));
const missing =
  containerdMissing() ?? (absent.length > 0 ? `needs ${absent.join(', ')}` : undefined);
const run = promisify(execFile);

describe.skipIf(missing !== undefined)(`pulls by ctr and ctr-remote ${missing ?? ''}`, () => {
  let folder: string;
  let lazy: FolderLayers;
  let image: ShellImage;
  let reference: string;
  let registry: DockerRegistry;
  let siphon: SnapshotterServer;
  let containerd: Containerd;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'siphon-rpull-'));
    image = await buildShellImage(folder);
    registry = await startDockerRegistry();
    reference = `${registry.host}/test/shell:1`;
    const to = `docker://${reference}`;
    await run('skopeo', ['copy', '--dest-tls-verify=false', `oci:${image.layout}:latest`, to]);
    lazy = new FolderLayers(join(folder, 'layers'));
    const address = join(folder, 'siphon.sock');
    siphon = await serveSnapshotter({
      root: join(folder, 'root'),
      address,
      lazy,
      log: silentLogger,
    });
    containerd = await startContainerd({ snapshotters: { siphon: address } });
  }, 60_000);

  afterAll(async () => {
    await containerd?.close();
    await siphon?.close();
    await registry?.close();
    await rm(folder, { recursive: true, force: true });
  }, 60_000);

  const rpull = (): Promise<unknown> =>
    containerd.ctrRemote(['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference]);

  const runCheck = (): Promise<string> => {
    const args = ['--snapshotter', 'siphon', reference, 'shell', '/bin/sh', '-c', checkScript];
    return containerd.runToEnd(args);
  };

  async function layersInStore(): Promise<string[]> {
    const { stdout } = await containerd.ctr(['content', 'ls', '-q']);
    return image.layers.filter((digest) => stdout.includes(digest));
  }

  async function forget(): Promise<void> {
    await containerd.ctr(['images', 'rm', '--sync', reference]);
    const { stdout } = await containerd.ctr(['snapshots', '--snapshotter', 'siphon', 'ls']);
    expect(stdout.trim().split('\n')).toHaveLength(1);
  }

  test('lazily', async () => {
    for (const digest of image.layers) await lazy.fillFrom(image.layout, parseDigest(digest));
    await rpull();
    expect(await layersInStore()).toEqual([]);
    expect(await runCheck()).toBe(checkOutput);
    expect(lazy.requests.map(({ layerDigest }) => layerDigest)).toEqual(image.layers);
    expect(lazy.requests[0]).toMatchObject({ reference, imageLayers: image.layers });
    await forget();
    expect(lazy.calls.filter((call) => call.startsWith('release')).toSorted()).toEqual([
      'release 1',
      'release 2',
      'release 3',
    ]);
  });

  test('from the first layer on that cannot be served, by unpacking', async () => {
    const [bottom = ''] = image.layers;
    await lazy.fillFrom(image.layout, parseDigest(bottom));
    lazy.beforePrepare = ({ layerDigest }) =>
      layerDigest === bottom ? Promise.resolve() : Promise.reject(unsupportedLayer());
    await rpull();
    expect(await layersInStore()).toEqual(image.layers.slice(1));
    expect(await runCheck()).toBe(checkOutput);
    await forget();
  });

  test('plain ctr unpacks everything', async () => {
    const before = lazy.requests.length;
    await containerd.ctr(['images', 'pull', '--snapshotter', 'siphon', '--plain-http', reference]);
    expect(lazy.requests).toHaveLength(before);
    expect(await runCheck()).toBe(checkOutput);
    await forget();
  });
});

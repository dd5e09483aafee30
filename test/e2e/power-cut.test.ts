/**
 * The power goes as soon as `siphon serve` has said of an image that it is here: the next life of the machine has
 * it all, and asks no registry for it.
 */

import { status } from '@grpc/grpc-js';
import { randomBytes } from 'node:crypto';
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startSiphonService } from '../../bench/programs/siphon-service.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type BuiltImage, buildLayout, dir, file } from '../support/images.js';
import { layerLabels } from '../support/layer-labels.js';
import { mounted } from '../support/mounted.js';
import { cuttableFileSystem } from '../support/power-cut.js';
import { startRegistryProxy } from '../support/registry-proxy.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { fuseMissing } from '../support/served-folders.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const missing = fuseMissing();

const lazy = [dir('etc', { mode: 0o750, uid: 7 }), file('lazy', randomBytes(300_000))];
/** Less than `smallest_lazy_layer`: unpacked, with a directory that only the layer below describes. */
const small = [file('etc/small', 'small'), file('usr/one', '1'), file('usr/two', '2')];
const top = [file('etc/top/file', randomBytes(100_000))];
const smallestLazyLayer = 50_000;

let sandbox: Sandbox;
let published: string;
let plain: string;
let config: string;
let image: BuiltImage;

beforeAll(async () => {
  if (missing !== undefined) return;
  sandbox = await openSandbox();
  config = join(sandbox.directory, 'config.toml');
  await writeFile(config, `smallest_lazy_layer = ${smallestLazyLayer}\n`);
  [plain, published] = [await sandbox.folder('plain'), await sandbox.folder('published')];
  for (const folder of [plain, published])
    image = await buildLayout(folder, { tag: 'latest', layers: [lazy, small, top] });
  await using publisher = await openSandbox();
  const built = await publisher.siphon('index', 'build', '--push', `oci:${published}:latest`);
  expect(built, built.stderr).toMatchObject({ code: 0 });
}, 60_000);

afterAll(async () => {
  await sandbox?.[Symbol.asyncDispose]();
}, 60_000);

/** As containerd pulls: one layer after the other, each said to be here. */
async function pull(snapshots: Snapshots, reference: string): Promise<void> {
  const digests = image.layers.map(({ digest }) => digest);
  for (const [at, digest] of digests.entries()) {
    const labels = layerLabels({
      target: `layer-${at}`,
      image: reference,
      digest,
      layers: digests.slice(at),
    });
    const parent = at === 0 ? '' : `layer-${at - 1}`;
    await expect(snapshots.prepare(`extract-${at}`, parent, labels)).rejects.toMatchObject({
      code: status.ALREADY_EXISTS,
    });
  }
}

async function withService<T>(root: string, use: (snapshots: Snapshots) => Promise<T>): Promise<T> {
  const directory = await sandbox.folder(`service-${randomBytes(4).toString('hex')}`);
  const siphon = await startSiphonService({ directory, root }, '--config', config);
  const snapshots = connectSnapshots({ address: siphon.address, snapshotter: '', namespace: 't' });
  try {
    return await use(snapshots);
  } finally {
    snapshots.close();
    await siphon.stop();
  }
}

describe.skipIf(missing !== undefined)(`after a power cut: ${missing ?? 'with FUSE'}`, () => {
  it.each(['with published indexes', 'without'])('an image %s is there', async (which) => {
    const layout = which === 'without' ? plain : published;
    await using disk = await cuttableFileSystem();
    const registry = await serveLayout({ layout });
    await using proxy = await startRegistryProxy(registry.host);
    try {
      const left = await withService(disk.path, async (snapshots) => {
        await pull(snapshots, `${proxy.host}/app:latest`);
        return disk.cut();
      });
      const asked = proxy.requests.length;
      await withService(left, async (snapshots) => {
        await mounted(await snapshots.view('look', 'layer-2'), async (tree) => {
          expect(await readdir(tree, { recursive: true })).toHaveLength(8);
          expect(await readFile(join(tree, 'etc/small'), 'utf8')).toBe('small');
          expect((await stat(join(tree, 'etc'))).uid).toBe(7);
          expect(proxy.requests.slice(asked)).toEqual([]);
          for (const { path, content } of [...lazy, ...top].filter(({ content }) => content))
            expect((await readFile(join(tree, String(path)))).equals(content!)).toBe(true);
        });
      });
    } finally {
      await registry.close();
    }
  });
});

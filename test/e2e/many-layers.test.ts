/** Images of very many layers, and very many layers at once, behind the one FUSE mount of `siphon serve`. */

import { lstat, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLayout } from '#src/content/layout-writer.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { layerLabels } from '../support/layer-labels.js';
import {
  type BuiltImage,
  type TarEntry,
  buildLayout,
  dir,
  file,
  whiteout,
} from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const missing = process.getuid?.() === 0 ? undefined : 'needs root';
/** Layers of each image; 300 in all, and no two alike. */
const images = { first: 128, second: 128, third: 44 };

let sandbox: Sandbox;
let registry: LayoutServer;
let siphon: SiphonService;
let snapshots: Snapshots;
const built = new Map<string, BuiltImage>();

beforeAll(async () => {
  sandbox = await openSandbox();
  const layout = await sandbox.folder('layout');
  await createLayout(layout);
  for (const [tag, count] of Object.entries(images)) {
    const layers = Array.from({ length: count }, (_, at) => layerOf(tag, at));
    built.set(tag, await buildLayout(layout, { tag, layers }));
  }
  registry = await serveLayout({ layout });
  siphon = await startSiphonService(sandbox);
  snapshots = connectSnapshots({
    address: siphon.address,
    snapshotter: 'siphon',
    namespace: 'test',
  });
}, 60_000);

afterAll(async () => {
  snapshots?.close();
  await siphon?.stop();
  await registry?.close();
  await sandbox?.[Symbol.asyncDispose]();
}, 60_000);

/** Each adds a file of its own, replaces the common one, and hides one of the layer below. */
function layerOf(tag: string, at: number): TarEntry[] {
  const hidden = at === 0 ? [] : [whiteout(`d/hidden-${at - 1}`)];
  const own = [`d/own-${at}`, `d/hidden-${at}`, 'd/common'].map((path) =>
    file(path, `${tag} ${at}`),
  );
  return [dir('d'), ...own, ...hidden];
}

/** Prepares one layer after the other as containerd does. @returns the name of the topmost */
async function pull(tag: string): Promise<string> {
  const layers = built.get(tag)?.layers.map(({ digest }) => digest) ?? [];
  let parent = '';
  for (const [at, digest] of layers.entries()) {
    const target = `${tag}-${at}`;
    const image = `${registry.host}/app:${tag}`;
    const labels = layerLabels({ target, image, digest, layers: layers.slice(at) });
    await expect(snapshots.prepare(`pull-${target}`, parent, labels)).rejects.toThrow(
      'already exists',
    );
    parent = target;
  }
  return parent;
}

/** Everything an image shows, read through its overlay. */
async function read(root: string): Promise<Map<string, string>> {
  const names = await readdir(join(root, 'd'));
  const read = async (name: string): Promise<[string, string]> => [
    name,
    await readFile(join(root, 'd', name), 'utf8'),
  ];
  return new Map(await Promise.all(names.map(read)));
}

function expected(tag: string, count: number): Map<string, string> {
  const top = `${tag} ${count - 1}`;
  const own = Array.from({ length: count }, (_, at) => [`own-${at}`, `${tag} ${at}`] as const);
  return new Map([...own, [`hidden-${count - 1}`, top], ['common', top]]);
}

/** Of the server, which the keeper has started. */
async function serverPid(): Promise<number> {
  const { stdout } = await sandbox.siphon('status', '--json');
  return Number(JSON.parse(stdout).serverPid);
}

describe.skipIf(missing !== undefined)(`siphon serve ${missing ?? ''}`, () => {
  it('shows 300 different layers at once through two mounts, 128 of them in one image', async () => {
    const tags = Object.entries(images);
    const tops = await Promise.all(tags.map(([tag]) => pull(tag)));
    expect(await sandbox.shownLayers()).toHaveLength(300);
    const mounts = ['fuse', 'xattr'].map((name) => join(sandbox.root, name));
    expect((await sandbox.mounts()).toSorted()).toEqual(mounts);
    const views = await Promise.all(tops.map((top) => snapshots.view(`view-${top}`, top)));
    const readFrom = async (at: number): Promise<void> => {
      const [tag, count] = tags[at] ?? ['', 0];
      await mounted(views[at] ?? [], async (root) => {
        expect((await lstat(join(root, 'd'))).isDirectory()).toBe(true);
        // The others are mounted meanwhile.
        if (at + 1 < tags.length) await readFrom(at + 1);
        expect(await read(root)).toEqual(new Map(expected(tag, count)));
      });
    };
    await readFrom(0);
    const open = await readdir(`/proc/${await serverPid()}/fd`);
    // Index and cache of each layer, once for the main thread and once for each of at most four others.
    expect(open.length).toBeLessThan(300 * (3 + 4 * 2) + 100);
  }, 240_000);
});

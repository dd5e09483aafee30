/** Directories that a lazy layer needs and does not list: a container sees what the layers below say of them. */

import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLayout } from '#src/content/layout-writer.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { layerLabels } from '../support/layer-labels.js';
import { type BuiltImage, buildLayout, dir, file, whiteout } from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';
import { type Tree, readTree } from '../support/tree.js';

const missing = process.getuid?.() === 0 ? undefined : 'needs root';
const odd = { mode: 0o2751, uid: 12, gid: 2_097_157 };
const layers = [
  [
    dir('.', { mode: 0o711 }),
    dir('tmp', { mode: 0o1777 }),
    dir('odd', { ...odd, xattrs: { 'user.odd': 'yes' } }),
    dir('odd/deep', { mode: 0o700, mtime: 5 }),
    dir('gone', { mode: 0o700 }),
  ],
  [file('tmp/x'), file('odd/new1'), whiteout('gone')],
  [dir('odd', { ...odd, mode: 0o750 }), file('odd/deep/new2'), file('gone/new')],
  [dir('.', { mode: 0o711 }), dir('last')],
];
/** As many as containerd's clients take, and each but the first needs what it does not list. */
const many = Array.from({ length: 128 }, (_, at) => [
  ...(at === 0 ? [dir('odd', odd)] : []),
  file(`odd/${at}`),
]);

let sandbox: Sandbox;
let registry: LayoutServer;
let siphon: SiphonService;
let snapshots: Snapshots;
const images = new Map<string, BuiltImage>();

/** Their attributes as octal mode and owner, by path. */
function attributes(tree: Tree, ...paths: string[]): string[] {
  return paths.map((path) => `${path} ${tree[path]?.mode} ${tree[path]?.owner}`);
}

function connect(): Snapshots {
  return connectSnapshots({ address: siphon.address, snapshotter: '', namespace: 'test' });
}

/** Prepares one layer after the other as containerd does. */
async function pull(tag: string): Promise<void> {
  const digests = images.get(tag)?.layers.map(({ digest }) => digest) ?? [];
  for (const [at, digest] of digests.entries()) {
    const labels = layerLabels({
      target: `${tag}-${at}`,
      image: `${registry.host}/app:${tag}`,
      digest,
      layers: digests.slice(at),
    });
    const parent = at === 0 ? '' : `${tag}-${at - 1}`;
    const prepared = snapshots.prepare(`pull-${tag}-${at}`, parent, labels);
    await expect(prepared).rejects.toThrow('already exists');
  }
}

async function look(at: number, tag = 'few'): Promise<Tree> {
  const key = `look-${tag}-${at}`;
  const tree = await mounted(await snapshots.view(key, `${tag}-${at}`), readTree);
  await snapshots.remove(key);
  return tree;
}

/** Operations that the service's mount was asked for, with how often. */
async function fuseRequests(): Promise<string[]> {
  const socketPath = join(sandbox.root, 'status', 'socket');
  const [response] = await once(get({ socketPath, path: '/metrics' }), 'response');
  const lines = (await text(response)).split('\n');
  return lines.filter((line) => line.startsWith('siphon_fuse_requests_total{'));
}

const withDirs = async (): Promise<number> => {
  const folder = join(sandbox.root, 'snapshots');
  return (await readdir(folder)).filter((id) => existsSync(join(folder, id, 'dirs'))).length;
};

describe.skipIf(missing !== undefined)(
  `directories that lazy layers imply ${missing ?? ''}`,
  () => {
    beforeAll(async () => {
      sandbox = await openSandbox();
      const layout = await sandbox.folder('layout');
      await createLayout(layout);
      images.set('few', await buildLayout(layout, { tag: 'few', layers }));
      images.set('many', await buildLayout(layout, { tag: 'many', layers: many }));
      registry = await serveLayout({ layout });
      siphon = await startSiphonService(sandbox);
      snapshots = connect();
      await pull('few');
    }, 60_000);

    afterAll(async () => {
      snapshots?.close();
      await siphon?.stop();
      await registry?.close();
      const left = await sandbox.mounts();
      await sandbox[Symbol.asyncDispose]();
      expect(left).toEqual([]);
    }, 60_000);

    const merged = [
      '. 40711 0:0',
      'tmp 41777 0:0',
      'odd 40750 12:2097157',
      'odd/deep 40700 0:0',
      'gone 40755 0:0',
    ];

    // A thread that waits for the mount of its own process cannot be killed.
    it('are known without a look into the mount, and so is the root of a container', async () => {
      await snapshots.prepare('unmounted', 'few-3');
      await snapshots.remove('unmounted');
      expect(await fuseRequests()).toEqual([]);
    });

    it('have the attributes that the layers below give them', async () => {
      const tree = await look(1);
      expect(attributes(tree, '.', 'tmp', 'odd', 'odd/deep')).toEqual([
        '. 40711 0:0',
        'tmp 41777 0:0',
        'odd 42751 12:2097157',
        'odd/deep 40700 0:0',
      ]);
      expect(tree['odd']?.xattrs).toEqual({ 'user.odd': '0x796573' });
      expect(Object.keys(tree)).toContain('odd/new1');
      expect(Object.keys(tree)).not.toContain('gone');
    });

    it('have them beneath others, in a container and in what is committed of it', async () => {
      const paths = ['.', 'tmp', 'odd', 'odd/deep', 'gone'];
      const top = await look(3);
      expect(attributes(top, ...paths)).toEqual(merged);
      expect(top['odd/deep']?.mtime).toBe('5000000000');
      await mounted(await snapshots.prepare('change', 'few-3'), async (root) => {
        expect((await lstat(root)).mode & 0o7777).toBe(0o711);
        await writeFile(join(root, 'tmp/mine'), '');
        await rm(join(root, 'odd'), { recursive: true });
        await mkdir(join(root, 'odd'));
      });
      await snapshots.commit('few-4', 'change');
      const changed = await look(4);
      expect(attributes(changed, 'tmp', 'odd')).toEqual(['tmp 41777 0:0', 'odd 40755 0:0']);
      expect(Object.keys(changed).filter((path) => path.startsWith('odd/'))).toEqual([]);
    });

    it('cost a folder only where a layer has such', async () => {
      expect(await withDirs()).toBe(2);
    });

    it('have them when the metadata was lost with the process', async () => {
      await siphon.stop('SIGKILL');
      snapshots.close();
      for (const name of await readdir(sandbox.root))
        if (name.startsWith('metadata.db')) await rm(join(sandbox.root, name));
      siphon = await startSiphonService(sandbox);
      snapshots = connect();
      expect(attributes(await look(3), '.', 'tmp', 'odd', 'odd/deep', 'gone')).toEqual(merged);
    });

    it('have them in each of 128 layers', async () => {
      await pull('many');
      expect(await withDirs()).toBe(2 + 127);
      const tree = await look(127, 'many');
      expect(attributes(tree, 'odd')).toEqual(['odd 42751 12:2097157']);
      expect(Object.keys(tree).filter((path) => path.startsWith('odd/'))).toHaveLength(128);
    }, 120_000);

    it('go with their snapshots', async () => {
      for (const { name } of (await snapshots.list()).toReversed()) await snapshots.remove(name);
      expect(await readdir(join(sandbox.root, 'snapshots'))).toEqual([]);
    });
  },
);

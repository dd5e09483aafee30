/** Large files that were read are kept apart as plain files, and overlays that are mounted afterwards look as before. */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServiceStatus } from '#src/monitor/service-status.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { sparseFile } from '../index/support/sparse-bytes.js';
import { layerLabels } from '../support/layer-labels.js';
import {
  type BuiltImage,
  buildLayout,
  dir,
  file,
  hardlink,
  noise,
  opaque,
  symlink,
  tarOf,
  whiteout,
} from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { fuseMissing } from '../support/served-folders.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';
import { type Tree, readTree } from '../support/tree.js';

const missing = fuseMissing();
const END = 1024;
const big = (seed: string): Buffer => noise((1 << 20) + 12_345, seed);
const CAPABILITY = Buffer.from('0100000200040000000000000000000000000000', 'hex');

const bottom = [
  dir('.', { mode: 0o711 }),
  dir('base', { mode: 0o2751, uid: 12, gid: 13, xattrs: { 'user.base': 'yes' } }),
  dir('base/deep', { mode: 0o700, mtime: 5 }),
  file('base/low', big('low'), { mtime: 1.000000007 }),
  dir('hidden'),
  file('hidden/low', big('hidden')),
  file('gone', big('gone')),
  file('swap', big('swap')),
  dir('swapped'),
  file('swapped/low', big('swapped')),
  dir('kept'),
  file('kept/small', 'small'),
];
/** It needs `base` and `base/deep`, and lists neither. */
const middle = [
  file('base/deep/high', big('high'), { uid: 5, gid: 6 }),
  opaque('hidden'),
  file('hidden/high', big('opaque')),
  whiteout('gone'),
  dir('swap'),
  file('swap/inside', big('inside')),
  file('swapped', big('now a file')),
  file('set', big('set'), { mode: 0o6755, xattrs: { 'user.mark': Buffer.from([0, 255, 10]) } }),
  file('capable', big('capable'), { xattrs: { 'security.capability': CAPABILITY } }),
  file(Buffer.from('\xff\xfe', 'latin1'), big('bytes')),
  dir('links', { mtime: 6 }),
  hardlink('links/one', 'set', {
    mode: 0o6755,
    xattrs: { 'user.mark': Buffer.from([0, 255, 10]) },
  }),
  symlink('alias', 'links'),
  file('alias/through', big('through')),
];
const sparse = sparseFile('1.0', {
  path: 'sparse',
  size: 9_000_000,
  pieces: [{ offset: 1 << 20, data: randomBytes(1 << 20) }],
});
/** Hides and replaces what is kept apart of the layers below. */
const top = [whiteout('links/one'), file('base/low', 'replaced'), file('small', 'small')];

let sandbox: Sandbox;
let layout: string;
let image: BuiltImage;

beforeAll(async () => {
  if (missing !== undefined) return;
  sandbox = await openSandbox({ SIPHON_LARGE_FILE: String(1 << 20) });
  layout = await sandbox.folder('layout');
  const middleTar = Buffer.concat([
    (await tarOf(middle)).subarray(0, -END),
    sparse,
    Buffer.alloc(END),
  ]);
  await buildLayout(layout, { tag: 'bottom', layers: [bottom] });
  image = await buildLayout(layout, { tag: 'latest', layers: [bottom, middleTar, top] });
}, 60_000);

afterAll(async () => {
  await sandbox?.[Symbol.asyncDispose]();
});

/** Those of the layers with large files that have them apart. */
async function apart(root: string): Promise<string[]> {
  const layers = await readdir(join(root, 'layers'));
  return layers.filter((number) => existsSync(join(root, 'layers', number, 'files')));
}

async function dropCaches(): Promise<void> {
  await must('sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches');
}

/** How many lower folders of an overlay have large files. */
async function treesAbove(target: string): Promise<number> {
  const options = await must('findmnt', '-n', '-o', 'FS-OPTIONS', target);
  return options.split('/files/tree').length - 1;
}

describe.skipIf(missing !== undefined)(`siphon mount (${missing ?? 'of large files'})`, () => {
  let target: string;
  let before: Tree;
  const mount = async (tag = 'latest', fillAfter = '0'): Promise<void> => {
    const source = `oci:${layout}:${tag}`;
    const done = await sandbox.siphon('--fill-after', fillAfter, 'mount', source, target);
    expect(done, done.stderr).toMatchObject({ code: 0 });
  };
  const unmount = async (): Promise<void> => {
    const done = await sandbox.siphon('umount', target);
    expect(done, done.stderr).toMatchObject({ code: 0 });
  };

  it('shows the same with them as without', async () => {
    target = await sandbox.folder('mnt');
    await mount('latest', 'never');
    before = await readTree(target);
    await unmount();
    // So that what other layers hide is kept apart, too.
    await mount('bottom');
    await readTree(target);
    await expect.poll(() => apart(sandbox.root), { timeout: 20_000 }).toHaveLength(1);
    await unmount();
    await mount();
    expect(await readTree(target)).toEqual(before);
    await expect.poll(() => apart(sandbox.root), { timeout: 20_000 }).toHaveLength(2);
    expect(await treesAbove(target)).toBe(1);
    expect(await readTree(target)).toEqual(before);
    await unmount();
    await mount();
    expect(await treesAbove(target)).toBe(2);
    expect(await readTree(target)).toEqual(before);
  }, 60_000);

  it('has one inode number for readdir and stat, and right counts of links', async () => {
    const listed = await must(
      'sh',
      '-c',
      'cd "$1"; ls -1iaU | sort; ls -1iaU base | sort',
      '',
      target,
    );
    const stated = await must(
      'sh',
      '-c',
      `cd "$1"; for d in . base; do (cd $d; for f in * . ..; do printf '%s ' "$(stat -c %i "$f")"; printf '%s\\n' "$f"; done | sort); done`,
      '',
      target,
    );
    const numbers = (text: string): string[] =>
      text.split('\n').map((line) => line.trim().split(' ')[0] ?? '');
    expect(numbers(listed)).toEqual(numbers(stated));
    expect(await must('stat', '-c', '%h', join(target, 'set'))).toBe('2\n');
  });

  it('gives its files to whoever has them, though its server is gone', async () => {
    await must('ls', '-R', target);
    const [keeper = ''] = await readdir(join(sandbox.root, 'keepers'));
    const children = await readFile(`/proc/${keeper}/task/${keeper}/children`, 'utf8');
    const server = Number(children.split(' ')[0]);
    const held = await open(join(target, 'capable'));
    try {
      process.kill(server, 'SIGSTOP');
      await must('sh', '-c', 'echo 1 >/proc/sys/vm/drop_caches');
      const { buffer } = await held.read(Buffer.alloc(1 << 20), 0, 1 << 20, 0);
      expect(buffer.equals(big('capable').subarray(0, 1 << 20))).toBe(true);
    } finally {
      process.kill(server, 'SIGKILL');
      await held.close();
    }
    expect(await readTree(target)).toEqual(before);
    await unmount();
  });

  it('counts them as what the image takes, and they go with it', async () => {
    const { stdout } = await sandbox.siphon('--json', 'images');
    const images = JSON.parse(stdout) as { name: string; sizeOnDisk: number }[];
    const all = image.tars.reduce((sum, tar) => sum + tar.length, 0);
    // Besides what the span caches have.
    expect(Math.max(...images.map(({ sizeOnDisk }) => sizeOnDisk))).toBeGreaterThan(1.5 * all);
    let freed = 0;
    for (const { name } of images) {
      const removed = await sandbox.siphon('--json', 'rmi', name);
      expect(removed, removed.stderr).toMatchObject({ code: 0 });
      freed += (JSON.parse(removed.stdout) as { bytes: number }).bytes;
    }
    expect(freed).toBeGreaterThan(1.5 * all);
    expect(
      (await readdir(join(sandbox.root, 'layers'))).filter((name) => /^\d/.test(name)),
    ).toEqual([]);
  });
});

describe.skipIf(missing !== undefined)(`siphon serve (${missing ?? 'of large files'})`, () => {
  let own: Sandbox;
  let registry: LayoutServer;
  let siphon: SiphonService;
  let snapshots: Snapshots;
  let before: Tree;

  const start = async (): Promise<void> => {
    const config = join(own.directory, 'at-once.toml');
    await writeFile(config, 'smallest_lazy_layer = 0\nfill_after = 0\n');
    const enter = ['env', `SIPHON_LARGE_FILE=${1 << 20}`];
    siphon = await startSiphonService({ ...own, enter }, '--config', config);
    const { address } = siphon;
    snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
  };

  beforeAll(async () => {
    own = await openSandbox();
    registry = await serveLayout({ layout });
    await start();
    for (const [at, { digest }] of image.layers.entries()) {
      const labels = layerLabels({
        target: `layer-${at}`,
        image: `${registry.host}/app:latest`,
        digest,
      });
      const prepared = snapshots.prepare(`pull-${at}`, at === 0 ? '' : `layer-${at - 1}`, labels);
      await expect(prepared).rejects.toThrow('already exists');
    }
  });

  afterAll(async () => {
    snapshots?.close();
    await siphon?.stop();
    await registry?.close();
    await own?.[Symbol.asyncDispose]();
  });

  it('shows containers the same with them as without, below what directories inherit', async () => {
    // So that what other layers hide is kept apart, too.
    await mounted(await snapshots.view('bottom', 'layer-0'), readTree);
    before = await mounted(await snapshots.view('before', 'layer-2'), readTree);
    const usage = await snapshots.usage('layer-1');
    await expect.poll(() => apart(own.root), { timeout: 20_000 }).toHaveLength(2);
    expect(await mounted(await snapshots.view('after', 'layer-2'), readTree)).toEqual(before);
    const [mount] = await snapshots.mounts('after');
    const lower = (mount?.options.at(-1) ?? '').split(':').map((path) => basename(path));
    expect(lower.map((name) => name.replace(/^\d+$/, 'layer')).join(' ')).toBe(
      'dirs layer dirs tree layer tree layer',
    );
    expect(await snapshots.usage('layer-1')).toEqual(usage);
    const { stdout } = await own.siphon('--json', 'status');
    const { cache } = (JSON.parse(stdout) as ServiceStatus).counters;
    const sizes = await Promise.all(
      (await apart(own.root)).map((layer) =>
        readFile(join(own.root, 'layers', layer, 'files/size'), 'utf8'),
      ),
    );
    const large = sizes.map(Number).reduce((sum, size) => sum + size, 0);
    expect(cache.largeFiles).toBe(large);
    expect(cache.size).toBeGreaterThan(large);
  });

  it('has them changed, moved and removed in containers as any file', async () => {
    await mounted(await snapshots.prepare('changed', 'layer-2'), async (root) => {
      const at = (...names: string[]): string => join(root, ...names);
      const handle = await open(at('hidden/high'), 'r+');
      await handle.write('first', 0);
      await handle.close();
      await rename(at('capable'), at('moved'));
      await rm(at('sparse'));
      await rm(at('swap'), { recursive: true });
      await mkdir(at('swap'));
      await dropCaches();
      const now = await readTree(root);
      expect(now['moved']).toMatchObject({ digest: before['capable']?.digest });
      expect(now['moved']?.xattrs).toEqual(before['capable']?.xattrs);
      const changed = await readFile(at('hidden/high'));
      expect(changed.equals(Buffer.concat([Buffer.from('first'), big('opaque').subarray(5)]))).toBe(
        true,
      );
      for (const path of ['capable', 'sparse', 'swap/inside'])
        expect(now).not.toHaveProperty([path]);
    });
    expect(await mounted(await snapshots.view('unchanged', 'layer-2'), readTree)).toEqual(before);
  });

  it('has them after it was killed, and takes them away with their layers', async () => {
    await siphon.stop('SIGKILL');
    snapshots.close();
    // What a process that was killed was writing.
    const [layer = ''] = await apart(own.root);
    const left = join(own.root, 'layers', layer, 'files.999999999-0123456789ab.tmp');
    await mkdir(join(left, 'tree'), { recursive: true });
    await start();
    expect(existsSync(left)).toBe(false);
    expect(await mounted(await snapshots.mounts('after'), readTree)).toEqual(before);
    for (const { name } of (await snapshots.list()).toReversed()) await snapshots.remove(name);
    await expect.poll(() => readdir(join(own.root, 'layers'))).not.toContain(layer);
  });
});

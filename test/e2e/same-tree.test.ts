/**
 * What siphon shows of an image, mounted, as snapshots and unpacked, against what containerd's own unpacking
 * shows, case by case. Each is looked at as a container sees it: through overlayfs, with a writable folder on top.
 */

import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Digest, type DiffId, chainIds, digestOf } from '#src/common/digest.js';
import { errorCode } from '#src/common/errors.js';
import { silentLogger } from '#src/common/log.js';
import { UndoStack } from '#src/common/undo-stack.js';
import { parseSource } from '#src/content/source.js';
import { MNT, umount } from '#src/ffi/libc.js';
import { makeImpliedDirectories } from '#src/layers/implied-directories.js';
import { LayerServer } from '#src/layers/layer-server.js';
import { type OverlayStack, mountOverlay } from '#src/layers/overlay-mount.js';
import { openImageAt, prepareLayers } from '#src/layers/serve-image.js';
import { type Workplace, openWorkplace } from '#src/layers/workplace.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { unpackLayer } from '#src/unpack/unpack-layer.js';
import { inPieces } from '../unpack/support/unpacked.js';
import {
  type Containerd,
  containerdMissing,
  startContainerd,
} from '../../bench/programs/containerd.js';
import { layerLabels } from '../support/layer-labels.js';
import { type Mount, mounted } from '../support/mounted.js';
import { LayoutBuilder } from '../support/oci-layout.js';
import { openSandbox } from '../support/sandbox.js';
import { fuseMissing } from '../support/served-folders.js';
import { startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import { type Outcome, TREE_CASES, type TreeCase } from '../support/tree-cases.js';
import { type Tree, readTree } from '../support/tree.js';

const missing = containerdMissing() ?? fuseMissing();
const run = promisify(execFile);
/** Unpacking does not fail for other reasons than the layer's own. */
const REFUSALS = new Set(['invalid', 'corrupt', 'unsupported']);

let folder: TemporaryFolder;
let containerd: Containerd;
let workplace: Workplace;
let server: LayerServer;
let registry: LayoutServer;
let snapshots: Snapshots;
const undoAll = new UndoStack();
/** Every stack of layers that there is, once as siphon gets it and perhaps once more for containerd. */
const stacks = TREE_CASES.flatMap(({ layers, differs }) =>
  differs !== undefined && 'inOtherWords' in differs ? [layers, differs.inOtherWords] : [layers],
);
/** Manifest of each of them. */
const manifests = new Map<Buffer[], Digest>();
/** Nanoseconds; what is younger was made by unpacking. */
const started = BigInt(Date.now()) * 1_000_000n;

describe.skipIf(missing !== undefined)(`the tree of an image: ${missing ?? ''}`, () => {
  beforeAll(async () => {
    folder = await temporaryFolder();
    undoAll.defer(() => folder[Symbol.asyncDispose]());
    const archive = await writeImages();
    containerd = await startContainerd();
    undoAll.defer(() => containerd.close());
    await containerd.ctr(['images', 'import', '--no-unpack', archive]);
    workplace = await openWorkplace({
      root: join(folder.path, 'root'),
      undo: undoAll,
      log: silentLogger,
    });
    await mkdir(join(folder.path, 'served/empty'), { recursive: true });
    const directory = join(folder.path, 'served');
    server = await LayerServer.start({ directory, open: workplace.open, log: silentLogger });
    undoAll.defer(() => server[Symbol.asyncDispose]());
    await startSnapshotter();
  }, 60_000);

  afterAll(() => undoAll[Symbol.asyncDispose]());

  it.each(TREE_CASES.map((one) => [one.name, one] as const))('%s', async (_, one) => {
    const expected = await expectedOf(one);
    const lazily = await byMounting(one.layers);
    const snapshot = await bySnapshots(one.layers);
    const unpacked = await byUnpacking(one.layers);
    const chance = madeByUnpacking(expected);
    expect(comparable(lazily, chance), 'mounted').toEqual(comparable(expected, chance));
    expect(comparable(snapshot, chance), 'as snapshots').toEqual(comparable(expected, chance));
    expect(comparable(unpacked, chance), 'unpacked').toEqual(comparable(expected, chance));
  });
});

/** What containerd gives, changed where siphon differs on purpose; the difference must be one. */
async function expectedOf({ layers, differs }: TreeCase): Promise<Outcome> {
  const theirs = await byContainerd(layers);
  if (differs === undefined) return theirs;
  if ('inOtherWords' in differs) {
    expect(theirs, differs.why).toBe('refused');
    return byContainerd(differs.inOtherWords);
  }
  if (theirs === 'refused') return theirs;
  expect(differs.expected(theirs), differs.why).not.toEqual(theirs);
  return differs.expected(theirs);
}

/** All images in one layout, packed for `ctr images import`. */
async function writeImages(): Promise<string> {
  const layout = join(folder.path, 'layout');
  const builder = await LayoutBuilder.create(layout);
  for (const [n, tars] of stacks.entries()) {
    const layers = await Promise.all(
      tars.map((tar) => builder.blob(tar, 'application/vnd.oci.image.layer.v1.tar')),
    );
    const config = {
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
      // Makes each image another one, also where the layers are the same.
      comment: String(n),
    };
    const mediaType = 'application/vnd.oci.image.config.v1+json';
    const manifest = await builder.manifest(
      { config: await builder.blob(JSON.stringify(config), mediaType), layers },
      { tag: `case-${n}` },
    );
    manifests.set(tars, manifest.digest);
  }
  const archive = join(folder.path, 'images.tar');
  await run('tar', ['-C', layout, '-cf', archive, 'oci-layout', 'index.json', 'blobs']);
  return archive;
}

async function byContainerd(layers: Buffer[]): Promise<Outcome> {
  try {
    await containerd.ctr(['snapshots', 'unpack', manifests.get(layers) ?? '']);
  } catch (error) {
    expect(String(error)).toMatch(/failed to extract layer|unpack/);
    return 'refused';
  }
  const top = chainIds(layers.map((tar) => digestOf(tar) as DiffId)).at(-1) ?? '';
  const key = `look-${stacks.indexOf(layers)}`;
  const { stdout } = await containerd.ctr(['snapshots', 'prepare', '--mounts', key, top]);
  const mounts = JSON.parse(stdout) as { Type: string; Source: string; Options: string[] }[];
  return mounted(mounts.map(toMount), readTree);
}

function toMount(mount: { Type: string; Source: string; Options: string[] }): Mount {
  return { type: mount.Type, source: mount.Source, options: mount.Options };
}

/** As `siphon mount` does it, but for the session, which is one for all. */
async function byMounting(layers: Buffer[]): Promise<Outcome> {
  const n = stacks.indexOf(layers);
  const base = join(folder.path, 'served');
  return refusing(async () => {
    await using undo = new UndoStack();
    const options = {
      root: join(folder.path, 'root'),
      source: parseSource(`oci:${join(folder.path, 'layout')}:case-${n}`),
      signal: new AbortController().signal,
      log: silentLogger,
    };
    const image = await openImageAt(workplace, { ...options, prepares: true }, undo);
    const records = await prepareLayers(workplace, image, options);
    for (const record of records) await server.serve(record);
    const numbers = [...new Set(records.map(({ number }) => number))];
    const lowerdirs = [...numbers.map((number) => server.place(number)), 'empty'];
    const indexes = numbers.map((number) => workplace.layers.indexPath(number));
    if (await makeImpliedDirectories(indexes, join(base, `implied-${n}`)))
      lowerdirs.unshift(`implied-${n}`);
    return await withOverlay({ base, lowerdirs, target: join(base, `mount-${n}`) }, readTree);
  });
}

/** `siphon serve` with all images in a registry. */
async function startSnapshotter(): Promise<void> {
  registry = await serveLayout({ layout: join(folder.path, 'layout') });
  undoAll.defer(() => registry.close());
  const sandbox = await openSandbox();
  undoAll.defer(() => sandbox[Symbol.asyncDispose]());
  const siphon = await startSiphonService(sandbox);
  undoAll.defer(async () => void (await siphon.stop()));
  const { address } = siphon;
  snapshots = connectSnapshots({ address, snapshotter: '', namespace: 'test' });
  undoAll.defer(() => Promise.resolve(snapshots.close()));
}

/** Every layer lazily, as containerd asks for it, and a container's snapshot on top. */
async function bySnapshots(layers: Buffer[]): Promise<Outcome> {
  const n = stacks.indexOf(layers);
  const digests = layers.map((tar) => digestOf(tar));
  let parent = '';
  for (const [at, digest] of digests.entries()) {
    const target = `case-${n}-${at}`;
    const image = `${registry.host}/app:case-${n}`;
    const labels = layerLabels({ target, image, digest, layers: digests.slice(at) });
    const left = await snapshots.prepare(`pull-${target}`, parent, labels).catch(String);
    if (typeof left !== 'string') return 'refused';
    expect(left).toContain('already exists');
    parent = target;
  }
  return mounted(await snapshots.prepare(`look-${n}`, parent), readTree);
}

/** Each layer into a folder of its own, merged by overlayfs, as the snapshotter does it. */
async function byUnpacking(layers: Buffer[]): Promise<Outcome> {
  const base = join(folder.path, `unpacked-${stacks.indexOf(layers)}`);
  await mkdir(join(base, 'empty'), { recursive: true });
  const lowerdirs: string[] = [];
  return refusing(async () => {
    for (const [n, tar] of layers.entries()) {
      const parents = lowerdirs.map((name) => join(base, name));
      const target = join(base, String(n));
      const source = inPieces(tar);
      await unpackLayer({ source, target, form: 'overlay', fresh: true, parents, rootEntry: true });
      lowerdirs.unshift(String(n));
    }
    const stack = { base, lowerdirs: [...lowerdirs, 'empty'], target: join(base, 'merged') };
    return withOverlay(stack, readTree);
  });
}

async function withOverlay<T>(stack: OverlayStack, use: (root: string) => Promise<T>): Promise<T> {
  await mkdir(stack.target);
  mountOverlay(stack);
  try {
    return await use(stack.target);
  } finally {
    umount(stack.target, MNT.DETACH);
  }
}

async function refusing(action: () => Promise<Tree>): Promise<Outcome> {
  try {
    return await action();
  } catch (error) {
    if (REFUSALS.has(errorCode(error) ?? '')) return 'refused';
    throw error;
  }
}

/** Paths whose time containerd leaves at the time of unpacking. */
function madeByUnpacking(theirs: Outcome): Set<string> {
  if (theirs === 'refused') return new Set();
  const young = Object.entries(theirs).filter(([, { mtime }]) => BigInt(mtime ?? 0) >= started);
  return new Set(young.map(([path]) => path));
}

/** Without the times that are containerd's own. */
function comparable(outcome: Outcome, chance: ReadonlySet<string>): Outcome {
  if (outcome === 'refused') return outcome;
  const timeless = Object.entries(outcome).map(([path, entry]) => {
    const { mtime: _, ...rest } = entry;
    return [path, path === '.' || chance.has(path) ? rest : entry] as const;
  });
  return Object.fromEntries(timeless);
}

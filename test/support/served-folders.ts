/**
 * A FuseSession over real folders: each is packed by tar(1), indexed, and served from a span cache that
 * begins empty or full. What fetches spans copies them out of the tar.
 *
 * Nothing in the test process may read cold files of the mount itself: its reads and the fetches that
 * they wait for would share the same few threads. Tests read with programs.
 */

import { createReadStream, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, open, realpath, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { FuseSession, type MountOptions, type ServedLayer } from '#src/fuse/fuse-session.js';
import type { Miss } from '#src/fuse/missed-read.js';
import { buildIndex } from '#src/index/build-index.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { must } from './sandbox.js';

export type Fill = (miss: Miss) => Promise<void>;

export interface ServedFolders extends AsyncDisposable {
  /** Temporary folder; the test may put things there. */
  readonly directory: string;
  readonly session: FuseSession;
  /** Makes a folder in {@link directory}. */
  folder(name: string): Promise<string>;
  /** Packs, indexes and serves a folder. @returns where its tree stands */
  add(number: number, folder: string, options?: AddOptions): Promise<string>;
  /** What {@link add} has made of a folder. */
  served(number: number): ServedLayer;
}

export interface AddOptions {
  /** All spans are in the cache from the start. */
  present?: boolean;
  spanSize?: number;
  /** More arguments for tar(1). */
  tar?: readonly string[];
}

export interface ServeFoldersOptions extends Partial<MountOptions> {
  /** Takes the place of the plain copying of spans. */
  onMiss?: (miss: Miss, signal: AbortSignal, fill: Fill) => Promise<void>;
}

interface Packed {
  layer: ServedLayer;
  tar: string;
  bounds: Float64Array;
}

/** Why FUSE cannot be tested here, or `undefined`. */
export function fuseMissing(): string | undefined {
  if (process.geteuid?.() !== 0) return 'needs root';
  return spawnSync('test', ['-c', '/dev/fuse']).status === 0 ? undefined : 'needs /dev/fuse';
}

export async function serveFolders(options: ServeFoldersOptions = {}): Promise<ServedFolders> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'siphon-fuse-')));
  const packed = new Map<number, Packed>();
  const fill: Fill = (miss) => copySpans(packed, miss);
  const mountPoint = join(directory, 'mnt');
  await mkdir(mountPoint);
  const { onMiss, ...others } = options;
  const session = await FuseSession.mount({
    mountPoint,
    fetch: (miss, signal) => onMiss?.(miss, signal, fill) ?? fill(miss),
    ...others,
  });
  return {
    directory,
    session,
    async folder(name) {
      await mkdir(join(directory, name), { recursive: true });
      return join(directory, name);
    },
    async add(number, folder, addOptions = {}) {
      packed.set(number, await pack(join(directory, `${number}`), { number, folder, addOptions }));
      if (addOptions.present === true) await fillAll(packed, number);
      session.addLayer(servedLayer(packed, number));
      return session.layerPath(number);
    },
    served: (number) => servedLayer(packed, number),
    async [Symbol.asyncDispose]() {
      await session.unmount({ lazy: true });
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function servedLayer(packed: Map<number, Packed>, number: number): ServedLayer {
  const layer = packed.get(number)?.layer;
  if (layer === undefined) throw new Error(`no layer ${number}`);
  return layer;
}

async function pack(
  prefix: string,
  from: { number: number; folder: string; addOptions: AddOptions },
): Promise<Packed> {
  const { number, folder, addOptions } = from;
  const tar = `${prefix}.tar`;
  const flags = ['--format=pax', '--xattrs', '--xattrs-include=*', '--sort=name'];
  await must('tar', ...flags, ...(addOptions.tar ?? []), '-C', folder, '-cf', tar, '.');
  const indexPath = `${prefix}.index`;
  const { spanSize } = addOptions;
  await buildIndex(createReadStream(tar), {
    output: indexPath,
    ...(spanSize === undefined ? {} : { spanSize }),
  });
  const bounds = readBounds(indexPath);
  const cachePath = `${prefix}.cache`;
  writeFileSync(cachePath, '');
  await truncate(cachePath, (await stat(tar)).size);
  const presence = new SharedArrayBuffer(bounds.length - 1);
  return { layer: { number, indexPath, cachePath, presence }, tar, bounds };
}

function readBounds(indexPath: string): Float64Array {
  using index = LayerIndex.open(indexPath);
  return Float64Array.from(index.spanBounds);
}

async function fillAll(packed: Map<number, Packed>, number: number): Promise<void> {
  const spans = packed.get(number)?.layer.presence.byteLength ?? 0;
  await copySpans(packed, { layer: number, firstSpan: 0, lastSpan: spans - 1 });
}

async function copySpans(packed: Map<number, Packed>, miss: Miss): Promise<void> {
  const from = packed.get(miss.layer);
  if (from === undefined) throw new Error(`no layer ${miss.layer}`);
  const start = from.bounds[miss.firstSpan] ?? 0;
  const end = from.bounds[miss.lastSpan + 1] ?? start;
  const tar = await open(from.tar);
  const cache = await open(from.layer.cachePath, 'r+');
  try {
    const bytes = Buffer.alloc(end - start);
    await tar.read(bytes, 0, bytes.length, start);
    await cache.write(bytes, 0, bytes.length, start);
  } finally {
    await Promise.all([tar.close(), cache.close()]);
  }
  new Uint8Array(from.layer.presence).fill(1, miss.firstSpan, miss.lastSpan + 1);
}

/**
 * Large files of a layer kept apart as plain files, for overlays that are mounted afterwards: the kernel keeps what it
 * reads through FUSE in single pages, and asks the server for it; a plain file it reads as any other.
 *
 *     <layer's folder>/files/tree     directly above the layer's own folder in an overlay
 *     <layer's folder>/files/size     bytes of the files in it
 *     <layer's folder>/files.lock     held by the process that writes them
 *
 * They are written once, when the layer is here as a whole and nobody has read of it for a while: those files of which
 * something was read by then. They appear whole, and never change: an overlay may stand on them. So they go with the
 * layer, or while nobody holds it.
 */

import { closeSync, existsSync, openSync, readFileSync, renameSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { removeTemporary, renameDurably, temporaryName } from '../common/atomic-file.js';
import { isDiskFull } from '../common/disk-full.js';
import { errorMessage, systemCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { Turns } from '../common/turns.js';
import { untilAborted } from '../common/until-aborted.js';
import type { ContentStore } from '../content/content-store.js';
import { FileSystemSync, tryLockFile } from '../ffi/libc.js';
import type { LayerInfo } from '../index/layer-model.js';
import type { SpanCache } from '../index/span-cache.js';
import { writeLargeFilesAside } from '../unpack/large-files-thread.js';
import type { LargeFilesJob } from '../unpack/large-files-tree.js';
import { diskRoom } from './disk-room.js';
import type { LayerRecord } from './layer-store.js';

/**
 * Bytes of the smallest file that is kept apart. Where there are smaller ones, more directories are in two lower folders,
 * and whoever lists them waits for a look-up of each name.
 */
const LEAST_SIZE = Number(process.env['SIPHON_LARGE_FILE'] ?? 32_000_000);

const FOLDER = 'files';
/** Between two looks whether a layer was read, in ms. */
const INTERVAL = 2000;
/** Until another attempt where one was prevented, in ms: it may have written gigabytes until then. */
const PAUSE = 60_000;

/** The folders that belong directly above a layer's own, by the layer's folder; topmost first. */
export function foldersAbove(directory: string): string[] {
  const tree = join(directory, FOLDER, 'tree');
  return existsSync(tree) ? [tree] : [];
}

/** Bytes of the large files that are kept apart, by the layer's folder. */
export function largeFilesSize(directory: string): number {
  try {
    return Number(readFileSync(join(directory, FOLDER, 'size'), 'utf8')) || 0;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return 0;
  }
}

/** Takes the large files away, which no overlay may stand on; from when this returns, nobody finds them. */
export function dropLargeFiles(directory: string): Promise<void> {
  const gone = temporaryName(join(directory, FOLDER));
  try {
    renameSync(join(directory, FOLDER), gone);
  } catch (error) {
    // Another process may have been at it.
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  return rm(gone, { recursive: true, force: true });
}

interface ReadLayer {
  record: Pick<LayerRecord, 'number' | 'blobDigest' | 'origin'>;
  index: { readonly info: LayerInfo };
  cache: Pick<SpanCache, 'presence' | 'used'>;
}

/** `over`: nothing is left to be done, ever. `unread`: as long as no more is read. `prevented`: by want of room, or by another who writes. */
type Outcome = 'over' | 'unread' | 'prevented';

interface Place {
  directory: string;
  blob: LargeFilesJob['blob'];
  signal: AbortSignal;
}

export interface LargeFilesOptions {
  content: ContentStore;
  directoryOf: (layer: number) => string;
  indexPathOf: (layer: number) => string;
  /** Milliseconds that nobody must have read of a layer. */
  quiet: number;
  /** Milliseconds until another attempt where one was prevented; default: a minute. */
  pause?: number;
  /** Bytes that may still be kept. */
  room: () => number;
  /** Is told of the bytes that were written. */
  onWritten: (bytes: number) => void;
  log: Logger;
}

export class LargeFiles {
  readonly #options: LargeFilesOptions;
  /** Of trees: each keeps a core busy, and is told what room there is. */
  readonly #trees = new Turns();

  constructor(options: LargeFilesOptions) {
    this.#options = options;
  }

  /**
   * Writes the large files of a layer that is here as a whole, once something of them was read; resolves when that is
   * done, by whomever, when it cannot be, or `signal` is aborted. Only root can give them their owners.
   */
  async write(layer: ReadLayer, signal: AbortSignal): Promise<void> {
    if (process.geteuid?.() !== 0) return;
    const { directoryOf, pause = PAUSE } = this.#options;
    const folder = join(directoryOf(layer.record.number), FOLDER);
    let [seen, wait] = [0, INTERVAL];
    while (!existsSync(folder)) {
      await delay(wait, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      wait = INTERVAL;
      const present = presentSpans(layer);
      if (present === seen || !this.#isQuiet(layer)) continue;
      const outcome = await this.#tryWrite(layer, signal);
      if (outcome === 'over') return;
      [seen, wait] = outcome === 'unread' ? [present, INTERVAL] : [0, pause];
    }
  }

  #isQuiet({ cache }: ReadLayer): boolean {
    const lastUse = new Uint32Array(cache.used).reduce((last, time) => Math.max(last, time), 0);
    return Date.now() - lastUse * 1000 >= this.#options.quiet;
  }

  async #tryWrite(layer: ReadLayer, signal: AbortSignal): Promise<Outcome> {
    const { log } = this.#options;
    const { blobDigest } = layer.record;
    try {
      return await this.#trees.take(signal, () => this.#write(layer, signal));
    } catch (error) {
      if (signal.aborted) return 'over';
      const about = { layer: blobDigest, reason: errorMessage(error) };
      const isFull = isDiskFull(error);
      log[isFull ? 'debug' : 'info'](about, 'large files are not kept apart');
      return isFull ? 'prevented' : 'over';
    }
  }

  async #write(layer: ReadLayer, signal: AbortSignal): Promise<Outcome> {
    const blob = await this.#blobOf(layer);
    if (blob === undefined) return 'over';
    const directory = this.#options.directoryOf(layer.record.number);
    const lock = openSync(join(directory, `${FOLDER}.lock`), 'a', 0o600);
    try {
      if (!tryLockFile(lock)) return 'prevented';
      if (existsSync(join(directory, FOLDER))) return 'over';
      await removeTemporary(join(directory, FOLDER));
      return await this.#writeLocked(layer, { directory, blob, signal });
    } finally {
      closeSync(lock);
    }
  }

  async #writeLocked(layer: ReadLayer, { directory, blob, signal }: Place): Promise<Outcome> {
    const { indexPathOf, onWritten, log } = this.#options;
    const { number, blobDigest } = layer.record;
    const room = Math.min(this.#options.room(), (await diskRoom(directory)).room);
    if (room < LEAST_SIZE) return 'prevented';
    const folder = temporaryName(join(directory, FOLDER));
    try {
      await mkdir(folder, { mode: 0o700 });
      using disk = new FileSystemSync(folder);
      const written = await writeLargeFilesAside(
        {
          indexPath: indexPathOf(number),
          blob,
          target: join(folder, 'tree'),
          leastSize: LEAST_SIZE,
          room,
          presence: layer.cache.presence,
        },
        signal,
      );
      if (written.bytes === 0) return written.large === 0 ? 'over' : 'unread';
      await writeFile(join(folder, 'size'), String(written.bytes), { mode: 0o600 });
      await untilAborted(disk.run(), signal);
      await renameDurably(folder, join(directory, FOLDER));
      log.info({ layer: blobDigest, bytes: written.bytes }, 'large files are kept apart');
      onWritten(written.bytes);
      return 'over';
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Where the blob lies, if bytes of it can be checked and need no network. */
  async #blobOf({ record, index }: ReadLayer): Promise<LargeFilesJob['blob'] | undefined> {
    const { content } = this.#options;
    const { blobDigest, blobSize: size, digestOf } = index.info;
    if (digestOf === 'none') return undefined;
    if (await content.has(blobDigest)) return { path: content.path(blobDigest), offset: 0, size };
    if (record.origin.kind !== 'file') return undefined;
    return { path: record.origin.path, offset: record.origin.offset ?? 0, size };
  }
}

function presentSpans({ cache }: ReadLayer): number {
  return new Uint8Array(cache.presence).reduce((sum, state) => sum + (state === 0 ? 0 : 1), 0);
}

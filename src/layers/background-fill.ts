/**
 * Brings every layer that is served here as a whole, while nobody waits for anything: what is missing of its blob
 * is fetched in order, at the least urgency there is, and stays when this process ends. A blob that is whole is
 * compared with its digest, and the index by which the layer is served with what the blob gives: only now is it
 * known that an index from elsewhere told the truth about the tree. From then on the layer needs no registry.
 *
 * A layer is begun where there is room for all that is missing of it, beside what those begun before still need:
 * layers that filled the room together, and none to its end, would be of no use to anybody.
 *
 * Wrong bytes are drawn anew, from another host where there is one. A layer that stays wrong, or whose index has
 * lied, is refused: whoever reads it gets errors instead of bytes that nothing vouches for.
 */

import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_REJECTIONS } from '../common/blob-source.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContentStore } from '../content/content-store.js';
import type { LayerInfo } from '../index/layer-model.js';
import { Turns } from '../common/turns.js';
import { verifyAside } from '../index/verify-aside.js';
import { diskRoom } from './disk-room.js';
import type { LayerBlob } from './layer-blob.js';
import type { LayerCompletion } from './layer-completion.js';
import type { LayerSource } from './layer-source.js';
import type { LayerRecord } from './layer-store.js';

/** Until what failed is tried again, and until another process is looked after that fills the layer, in ms. */
const PAUSE = 10_000;
/** Bytes that come between two looks whether there is room for the rest. */
const ROOM_STEP = 16 << 20;

export interface FilledLayer {
  record: LayerRecord;
  index: { readonly info: LayerInfo };
  source: LayerSource;
  /** There where only headers were read: one pass brings the blob and checks it. */
  completion: LayerCompletion | undefined;
  closing: AbortController;
}

export interface BackgroundFillOptions {
  content: ContentStore;
  /** Milliseconds from when a layer is opened until filling it begins. */
  delay: number;
  directoryOf: (layer: number) => string;
  indexPathOf: (layer: number) => string;
  /** Bytes of blobs that may still be kept. */
  room: () => number;
  /** Goes on with a layer that is here as a whole, until it closes. */
  whole: (layer: FilledLayer) => Promise<void>;
  /** Is told of a layer that is not what it should be. */
  refuse: (layer: FilledLayer, because: SiphonError) => void;
  log: Logger;
}

/** Not the answer of a server that cannot be right: what came whole is wrong, or its index is. */
class WrongLayer extends SiphonError {
  constructor(message: string) {
    super('corrupt', message);
  }
}

export class BackgroundFill {
  readonly #options: BackgroundFillOptions;
  readonly #running = new Map<FilledLayer, Promise<void>>();
  /** Bytes that are still to come of each layer that was begun. */
  readonly #reserved = new Map<FilledLayer, () => number>();
  /** What kind of failure each layer met last: the log is told of another. */
  readonly #said = new WeakMap<FilledLayer, ReturnType<typeof errorCode>>();
  /** Of checks: each keeps a core busy. */
  readonly #checks = new Turns();

  constructor(options: BackgroundFillOptions) {
    this.#options = options;
  }

  /** Begins with a layer; it ends with the layer's `closing`. */
  begin(layer: FilledLayer): void {
    const work = this.#run(layer).finally(() => this.#running.delete(layer));
    this.#running.set(layer, work);
  }

  /** Resolves when nothing is done for the layer any more, which must be closing. */
  async settled(layer: FilledLayer): Promise<void> {
    await this.#running.get(layer);
  }

  async #run(layer: FilledLayer): Promise<void> {
    const { signal } = layer.closing;
    for (let wait = this.#options.delay; ; wait = PAUSE) {
      // Nothing else is kept waiting by it, the end of the process either.
      await delay(wait, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      if (await this.#isDone(layer)) return this.#options.whole(layer);
    }
  }

  /** Whether nothing is left to be done. */
  async #isDone(layer: FilledLayer): Promise<boolean> {
    const { log } = this.#options;
    const { blobDigest } = layer.record;
    try {
      return await this.#fill(layer);
    } catch (error) {
      if (layer.closing.signal.aborted) return true;
      if (error instanceof WrongLayer) return this.#refuse(layer, error);
      const level = this.#said.get(layer) === errorCode(error) ? 'debug' : 'info';
      this.#said.set(layer, errorCode(error));
      log[level]({ layer: blobDigest, reason: errorMessage(error) }, 'layer is not whole yet');
      // An index of headers alone gives nothing until its pass was right; who reads begins another.
      return layer.completion !== undefined && errorCode(error) === 'corrupt';
    }
  }

  #refuse(layer: FilledLayer, because: WrongLayer): true {
    try {
      this.#options.refuse(layer, because);
    } catch (error) {
      this.#options.log.error({ err: error }, `Cannot take out what is wrong: ${because.message}`);
    }
    return true;
  }

  async #fill(layer: FilledLayer): Promise<boolean> {
    try {
      return await this.#bring(layer);
    } finally {
      this.#reserved.delete(layer);
    }
  }

  async #bring(layer: FilledLayer): Promise<boolean> {
    const { signal } = layer.closing;
    const source = await layer.source.open();
    if (layer.completion !== undefined) {
      if (!source.local) await this.#requireRoom(layer, () => layer.record.blobSize);
      await layer.completion.wait(signal, 'fill');
      return true;
    }
    const { blob } = layer.source;
    if (blob === undefined) return true;
    if (await this.#isWholeByOthers(layer, blob)) return true;
    try {
      if (!(await blob.claim())) return this.#isLeftToOthers(layer);
      // Whoever had it may have come to its end between the two.
      if (await this.#isWholeByOthers(layer, blob)) return true;
      await this.#fetchRest(layer, blob);
      if (layer.record.identity === 'content') await this.#finish(layer, blob);
      return true;
    } finally {
      blob.release();
    }
  }

  async #fetchRest(layer: FilledLayer, blob: LayerBlob): Promise<void> {
    const { signal } = layer.closing;
    let seen = -Infinity;
    do {
      signal.throwIfAborted();
      if (blob.present - seen >= ROOM_STEP) {
        seen = blob.present;
        await this.#requireRoom(layer, () => blob.size - blob.present);
      }
    } while (await blob.fill(signal));
  }

  /** Whether another process has brought the layer here. */
  async #isWholeByOthers(layer: FilledLayer, blob: LayerBlob): Promise<boolean> {
    const { content, log } = this.#options;
    const id = { digest: layer.record.blobDigest, size: blob.size };
    if (!(await content.has(id.digest))) return false;
    blob.moveTo(await content.source(id));
    log.debug({ layer: id.digest }, 'layer is here as a whole, brought by another process');
    return true;
  }

  #isLeftToOthers({ record }: FilledLayer): false {
    this.#options.log.debug({ layer: record.blobDigest }, 'another process brings the layer');
    return false;
  }

  /**
   * Compares blob and index with what they should be, and puts the blob into the content store.
   * @throws SiphonError `corrupt`; an index that has lied is gone then, so that the next start builds another
   */
  async #finish(layer: FilledLayer, blob: LayerBlob): Promise<void> {
    const { content, indexPathOf, log } = this.#options;
    const { blobDigest: digest, number } = layer.record;
    const lie = await this.#lieOf(layer, await this.#rightBlob(layer, blob));
    if (lie !== undefined) await rm(indexPathOf(number), { force: true });
    await blob.moveInto(content, digest);
    if (lie !== undefined) throw lie;
    log.info({ layer: digest }, 'layer is here as a whole, and is what it should be');
  }

  /** What is wrong with the index, going by the blob. */
  async #lieOf(layer: FilledLayer, blobPath: string): Promise<WrongLayer | undefined> {
    const { directoryOf, indexPathOf } = this.#options;
    const { number } = layer.record;
    const { signal } = layer.closing;
    const { format, tarSize } = layer.index.info;
    const job = { path: indexPathOf(number), blobPath, folder: directoryOf(number) };
    try {
      await this.#checks.take(signal, async () => {
        // Both tars are written out then.
        if (format !== 'siphon') await this.#requireDisk(layer, 2 * tarSize);
        await verifyAside(job, signal);
      });
      return undefined;
    } catch (error) {
      if (errorCode(error) === 'corrupt') return new WrongLayer(errorMessage(error));
      throw error;
    }
  }

  /** @returns where the blob lies. @throws SiphonError `corrupt` where no host has the layer */
  async #rightBlob(layer: FilledLayer, blob: LayerBlob): Promise<string> {
    const { signal } = layer.closing;
    const { blobDigest } = layer.record;
    for (let rejected = 0; ; rejected += 1) {
      await this.#fetchRest(layer, blob);
      const { path, digest } = await this.#checks.take(signal, () => blob.seal(signal));
      if (digest === blobDigest) return path;
      const message = `Cannot trust layer "${blobDigest}": what ${blob.name} gives has digest ${digest}`;
      if (rejected === MAX_REJECTIONS) {
        await blob.drawAnew(0);
        throw new WrongLayer(message);
      }
      this.#options.log.error({ layer: blobDigest }, `${message}, drawn anew`);
      await blob.drawAnew(rejected + 1);
    }
  }

  /**
   * Reserves room for what is still to come of the layer, until its fill is over.
   * @throws SiphonError `no-space` where that would be more than may be kept, or leave too little on the disk
   */
  async #requireRoom(layer: FilledLayer, rest: () => number): Promise<void> {
    this.#reserved.delete(layer);
    const others = [...this.#reserved.values()].reduce((sum, bytesOf) => sum + bytesOf(), 0);
    const bytes = rest();
    const room = this.#options.room() - others;
    if (bytes > room) {
      const problem = `${room} bytes of blobs may still be kept, expected ${bytes}`;
      throw noRoom(layer, problem);
    }
    this.#reserved.set(layer, rest);
    await this.#requireDisk(layer, bytes + others);
  }

  async #requireDisk(layer: FilledLayer, bytes: number): Promise<void> {
    const { free, room } = await diskRoom(this.#options.directoryOf(layer.record.number));
    if (bytes <= room) return;
    throw noRoom(layer, `${free} bytes are free, expected ${bytes} and a tenth of the disk`);
  }
}

function noRoom({ record }: FilledLayer, problem: string): SiphonError {
  return new SiphonError('no-space', `Cannot bring layer "${record.blobDigest}" here: ${problem}`);
}

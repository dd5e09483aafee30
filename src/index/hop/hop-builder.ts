/**
 * Builds the index of an uncompressed layer from its headers: bytes in, and the offset of the next ones that
 * are wanted out, which lies behind the contents of large files. Runs in the calling thread;
 * {@link hopIndex} has a worker for it.
 *
 * Tree and spans are those that a pass over the whole layer gives, inode numbers included. Only digests
 * are missing: nobody has seen the contents.
 */

import { rmSync } from 'node:fs';
import { SiphonError } from '../../common/errors.js';
import type { Digest, DiffId } from '../../common/digest.js';
import { SIGNATURE_SIZE, detectCompression } from '../compression.js';
import { IndexWriter } from '../index-writer.js';
import type { LayerInfo } from '../layer-model.js';
import { DEFAULT_SPAN_SIZE } from '../span-limits.js';
import { TarReader } from '../tar-reader.js';
import { TreeBuilder } from '../tree-builder.js';

export interface HopJob {
  /** The index file to create. */
  path: string;
  /** Of a tar the blob's own; where nobody has hashed it, the layer's name. */
  blobDigest: Digest;
  blobSize: number;
  spanSize?: number;
}

const NO_DIGEST = Buffer.alloc(0);

export class HopBuilder {
  readonly #job: HopJob;
  readonly #staging: string;
  readonly #writer: IndexWriter;
  readonly #tree: TreeBuilder;
  readonly #tar: TarReader;
  #next = 0;

  constructor(job: HopJob) {
    this.#job = job;
    this.#staging = `${job.path}.staging`;
    this.#writer = new IndexWriter(job.path, this.#staging);
    this.#tree = new TreeBuilder(this.#writer.tree);
    this.#tar = new TarReader((entry, dataOffset) => this.#tree.add(entry, dataOffset));
  }

  /** Offset of the bytes to push next; the blob's size when no more are wanted. */
  get next(): number {
    return this.#next;
  }

  /**
   * Takes bytes from {@link next} on, the first time at least 8 if there are.
   * @throws SiphonError `unsupported` where the layer is compressed; `corrupt` or `invalid` as for a pass
   */
  push(bytes: Buffer): void {
    if (this.#next === 0) checkPlain(bytes.subarray(0, SIGNATURE_SIZE));
    this.#tar.push(bytes);
    const at = this.#next + bytes.length;
    const hop = Math.min(this.#tar.skippable, this.#job.blobSize - at);
    this.#tar.pass(hop);
    this.#next = at + hop;
  }

  /** Completes the file. @throws SiphonError `corrupt` where the tar is cut */
  finish(): LayerInfo {
    this.#tar.finish();
    const { blobDigest, blobSize, spanSize = DEFAULT_SPAN_SIZE } = this.#job;
    const spanCount = this.#addSpans(blobSize, spanSize);
    const info = this.#writer.finish({
      compression: 'none',
      format: 'siphon',
      formatReason: 'the headers of its tar; what they lead to is checked once it is read',
      digestOf: 'none',
      blobDigest,
      blobSize,
      // The tar is the blob.
      diffId: blobDigest as DiffId,
      tarSize: blobSize,
      spanSize,
      spanCount,
      hasRootEntry: this.#tree.hasRootEntry,
      prefetchEnd: 0,
    });
    rmSync(this.#staging, { force: true });
    return info;
  }

  /** Removes what is there so far. */
  abort(): void {
    this.#writer.close();
    for (const file of [this.#staging, this.#job.path]) rmSync(file, { force: true });
  }

  /** Where a pass would have put them. */
  #addSpans(size: number, spanSize: number): number {
    let number = 0;
    for (let at = 0; at < size; at += spanSize) {
      const place = { tarOffset: at, blobOffset: at, blobLength: Math.min(spanSize, size - at) };
      const span = { number: number++, ...place, bits: 0, skip: 0, digest: NO_DIGEST };
      this.#writer.addSpan(span, undefined);
    }
    return number;
  }
}

function checkPlain(signature: Buffer): void {
  const compression = detectCompression(signature);
  if (compression === 'none') return;
  throw new SiphonError(
    'unsupported',
    `Cannot hop through layer: it is ${compression}, expected an uncompressed tar`,
  );
}

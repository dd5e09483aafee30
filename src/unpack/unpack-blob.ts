/** Unpacks one layer in the calling thread: blob bytes in, files out, both digests on the way. */

import { createHash } from 'node:crypto';
import { type DiffId, digestFromHash } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { type ExpectedLayer, checkExpected } from '../index/expected-layer.js';
import { checkInflated } from '../index/span-limits.js';
import { TarReader } from '../index/tar-reader.js';
import { decompress } from './decompress.js';
import { TreeWriter } from './tree-writer.js';
import type { UnpackJob, UnpackedLayer } from './unpack-model.js';

/**
 * @param input the blob; a piece is valid until the next one is asked for
 * @param exactModes whether this thread has an empty umask
 * @throws SiphonError `corrupt` where blob or tar are cut, damaged or not what is expected; `unsupported`
 * for formats that nothing here reads; `invalid` for a tree that cannot be; and what `input` throws.
 * Files that were made by then are left
 */
export async function unpackBlob(
  input: AsyncIterator<Buffer>,
  job: UnpackJob,
  exactModes: boolean,
): Promise<UnpackedLayer> {
  const blob = new MeteredBlob(input, job.expected);
  const tree = new TreeWriter(job, exactModes);
  try {
    const tar = new TarReader(
      (entry) => tree.add(entry),
      (bytes) => tree.content(bytes),
    );
    const hash = createHash('sha256');
    let tarSize = 0;
    const { compression, tar: pieces } = await decompress(blob);
    for await (const piece of pieces) {
      hash.update(piece);
      tarSize += piece.length;
      checkInflated(tarSize, { read: blob.size, whole: job.expected.blobSize }, 'unpack');
      tar.push(piece);
    }
    tar.finish();
    // A diff id is the digest of the tar.
    const diffId = digestFromHash(hash.digest()) as DiffId;
    const facts = { compression, ...blob.facts(), diffId, tarSize };
    checkExpected(facts, job.expected, 'unpack');
    return { ...facts, ...tree.finish() };
  } finally {
    tree.close();
  }
}

/** Hashes and counts the blob as it passes; one of the wrong length is noticed at once. */
class MeteredBlob implements AsyncIterator<Buffer> {
  readonly #input: AsyncIterator<Buffer>;
  readonly #expected: ExpectedLayer;
  readonly #hash = createHash('sha256');
  #size = 0;

  /** Bytes that have passed. */
  get size(): number {
    return this.#size;
  }

  constructor(input: AsyncIterator<Buffer>, expected: ExpectedLayer) {
    this.#input = input;
    this.#expected = expected;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    const next = await this.#input.next();
    const { blobSize } = this.#expected;
    if (next.done === true) {
      if (blobSize !== undefined && this.#size !== blobSize)
        throw wrongLength(this.#size, blobSize);
      return { done: true, value: undefined };
    }
    this.#hash.update(next.value);
    this.#size += next.value.length;
    if (blobSize !== undefined && this.#size > blobSize) throw wrongLength(this.#size, blobSize);
    return next;
  }

  facts(): Pick<UnpackedLayer, 'blobDigest' | 'blobSize'> {
    return { blobDigest: digestFromHash(this.#hash.digest()), blobSize: this.#size };
  }
}

function wrongLength(size: number, expected: number): SiphonError {
  const verdict = size > expected ? `${size} bytes or more` : `${size} bytes`;
  return new SiphonError('corrupt', `Cannot unpack layer: it has ${verdict}, expected ${expected}`);
}

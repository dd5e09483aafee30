/**
 * Two SHA-256 digests at once of bytes that go by, each with beginnings of its own. A processor's instructions for
 * SHA-256 wait for each other within one digest; OpenSSL's `sha256_multi_block`, by FFI from the running
 * process, fills these pauses with the other one, so that two take little longer than one. It takes whole blocks and
 * knows nothing of padding (FIPS 180-4), which is done here.
 */

import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { koffi } from './koffi.js';

const BLOCK_SIZE = 64;
const DIGEST_SIZE = 32;
/** Bytes of /proc/cpuinfo that are read; one processor has some 1,500. */
const CPUINFO_SIZE = 4096;
/** FIPS 180-4, section 5.3.3. */
const INITIAL = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
] as const;

// SHA256_MB_CTX of OpenSSL: each word of the state for eight digests, of which two are used. HASH_DESC: address
// and count of blocks; there are four.
const CONTEXT_DIGESTS = 8;
const DESCRIPTORS = 4;
const DESCRIPTOR_SIZE = 16;
const BLOCKS = 8;

/** The part of {@link SHA256_PAIR_BYTES} that each of the two has beside the context: pending bytes, and two numbers. */
const OWN_BYTES = 2 * BLOCK_SIZE + 16;
const CONTEXT_BYTES = 4 * INITIAL.length * CONTEXT_DIGESTS;

/** Memory for all there is of a pair between two calls. */
export const SHA256_PAIR_BYTES = CONTEXT_BYTES + 2 * OWN_BYTES;

/** Lets the blocks of all descriptors go into their states. */
type MultiBlock = (context: Uint32Array, descriptors: Uint8Array, fours: number) => void;

/** One of the two. */
class Digest {
  readonly #context: Uint32Array;
  readonly #number: number;
  readonly #descriptor: Buffer;
  /** Bytes that wait for the rest of their block; in the end, with the padding, up to two. */
  readonly #pending: Buffer;
  readonly #pendingAddress: bigint;
  /** How many of them there are, and bytes in all. */
  readonly #counts: Float64Array;

  constructor(memory: SharedArrayBuffer, descriptors: Buffer, number: number) {
    this.#context = new Uint32Array(memory, 0, INITIAL.length * CONTEXT_DIGESTS);
    this.#number = number;
    this.#descriptor = descriptors.subarray(number * DESCRIPTOR_SIZE);
    const own = CONTEXT_BYTES + number * OWN_BYTES;
    this.#counts = new Float64Array(memory, own, 2);
    this.#pending = Buffer.from(memory, own + this.#counts.byteLength, 2 * BLOCK_SIZE);
    this.#pendingAddress = koffi.address(this.#pending);
  }

  get length(): number {
    return this.#counts[1] ?? 0;
  }

  get #filled(): number {
    return this.#counts[0] ?? 0;
  }

  set #filled(count: number) {
    this.#counts[0] = count;
  }

  begin(): void {
    for (const [word, value] of INITIAL.entries())
      this.#context[word * CONTEXT_DIGESTS + this.#number] = value;
    this.#counts.fill(0);
  }

  /** Describes the block that was pending, where `bytes` fill it; returns how many it took. */
  fill(bytes: Uint8Array): number {
    this.#counts[1] = this.length + bytes.length;
    if (this.#filled === 0) return 0;
    const piece = bytes.subarray(0, BLOCK_SIZE - this.#filled);
    this.#keep(piece);
    if (this.#filled === BLOCK_SIZE) {
      this.#describe(this.#pendingAddress, 1);
      this.#filled = 0;
    }
    return piece.length;
  }

  /** Describes all whole blocks from `at` on, and keeps the rest. */
  takeWhole(bytes: Uint8Array, address: bigint, at: number): void {
    const blocks = Math.floor((bytes.length - at) / BLOCK_SIZE);
    this.#describe(address + BigInt(at), blocks);
    this.#keep(bytes.subarray(at + blocks * BLOCK_SIZE));
  }

  /** Describes what is left, with its padding. */
  pad(): void {
    const size = (this.#filled < BLOCK_SIZE - 8 ? 1 : 2) * BLOCK_SIZE;
    this.#pending[this.#filled] = 0x80;
    this.#pending.fill(0, this.#filled + 1, size);
    this.#pending.writeBigUInt64BE(8n * BigInt(this.length), size - 8);
    this.#describe(this.#pendingAddress, size / BLOCK_SIZE);
  }

  /** The digest; begins another one. */
  take(): Buffer {
    const digest = Buffer.alloc(DIGEST_SIZE);
    for (const word of INITIAL.keys()) digest.writeUInt32BE(this.#word(word), 4 * word);
    this.begin();
    return digest;
  }

  #word(word: number): number {
    return this.#context[word * CONTEXT_DIGESTS + this.#number] ?? 0;
  }

  #keep(bytes: Uint8Array): void {
    this.#pending.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  #describe(address: bigint, blocks: number): void {
    this.#descriptor.writeBigUInt64LE(address, 0);
    this.#descriptor.writeInt32LE(blocks, BLOCKS);
  }
}

/** Both digests. */
export class Sha256Pair {
  readonly #compress: MultiBlock;
  readonly #context: Uint32Array;
  readonly #descriptors = Buffer.alloc(DESCRIPTORS * DESCRIPTOR_SIZE);
  readonly #digests: readonly [Digest, Digest];

  constructor(compress: MultiBlock, memory: SharedArrayBuffer) {
    this.#compress = compress;
    this.#context = new Uint32Array(memory, 0, INITIAL.length * CONTEXT_DIGESTS);
    this.#digests = [
      new Digest(memory, this.#descriptors, 0),
      new Digest(memory, this.#descriptors, 1),
    ];
  }

  begin(): void {
    for (const digest of this.#digests) digest.begin();
  }

  /** Bytes that the digest of that number has taken since it began. */
  length(number: 0 | 1): number {
    return this.#digests[number].length;
  }

  /** Lets both take the next bytes; they are not kept. */
  update(bytes: Uint8Array): void {
    const address = koffi.address(bytes);
    const taken = this.#digests.map((digest) => digest.fill(bytes));
    this.#run();
    for (const [at, digest] of this.#digests.entries())
      digest.takeWhole(bytes, address, taken[at] ?? 0);
    this.#run();
  }

  /** Ends the digest of that number and begins another one in its place. */
  take(number: 0 | 1): Buffer {
    const digest = this.#digests[number];
    digest.pad();
    this.#run();
    return digest.take();
  }

  #run(): void {
    this.#compress(this.#context, this.#descriptors, 1);
    this.#descriptors.fill(0);
  }
}

/**
 * A pair that {@link Sha256Pair.begin} is called of first, by one of those who have its memory; they use it one after
 * another. `undefined` where two digests at once are not faster, or not to be had.
 * @param memory of {@link SHA256_PAIR_BYTES}
 */
export function sha256Pair(
  memory = new SharedArrayBuffer(SHA256_PAIR_BYTES),
): Sha256Pair | undefined {
  compress ??= find() ?? 'none';
  return compress === 'none' ? undefined : new Sha256Pair(compress, memory);
}

let compress: MultiBlock | 'none' | undefined;

function find(): MultiBlock | undefined {
  try {
    // Without these instructions OpenSSL computes four at a time, of which two would be nobody's.
    if (!/\bsha_ni\b/.test(firstProcessor())) return undefined;
    const found = koffi
      .load(null)
      .func('void sha256_multi_block(void *context, const void *descriptors, int fours)');
    return isRight(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

/** What proc_cpuinfo(5) says of one, or some more; all may be hundreds. */
function firstProcessor(): string {
  const file = openSync('/proc/cpuinfo', 'r');
  try {
    const text = Buffer.alloc(CPUINFO_SIZE);
    return text.toString('latin1', 0, readSync(file, text));
  } finally {
    closeSync(file);
  }
}

/** The function is OpenSSL's own affair: another version could mean something else by it. */
function isRight(found: MultiBlock): boolean {
  const pair = new Sha256Pair(found, new SharedArrayBuffer(SHA256_PAIR_BYTES));
  pair.begin();
  const bytes = Buffer.alloc(5 * BLOCK_SIZE - 3, 'siphon');
  pair.update(bytes);
  const before = pair.take(1);
  pair.update(bytes);
  return (
    before.equals(sha256(bytes)) &&
    pair.take(1).equals(before) &&
    pair.take(0).equals(sha256(Buffer.concat([bytes, bytes])))
  );
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** Seeded bytes: the key stream of AES-256 in counter mode, as fast as the machine encrypts. */

import { createCipheriv, createHash } from 'node:crypto';

const CHUNK = 64 * 1024;

/** `size` bytes in chunks; equal seeds give equal bytes. */
export function* pseudoRandomBytes(seed: string, size: number): Generator<Buffer> {
  const key = createHash('sha256').update(seed).digest();
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK);
  for (let left = size; left > 0; left -= CHUNK) {
    yield cipher.update(zeros.subarray(0, Math.min(CHUNK, left)));
  }
}

/** Gives integers in `[0, limit)`; equal seeds give equal sequences. */
export function randomIntegers(seed: string): (limit: number) => number {
  const values = pseudoRandomIntegers(seed);
  return (limit) => values.next().value % limit;
}

/** Without end: the type tells that `next` always has a value. */
function* pseudoRandomIntegers(seed: string): Generator<number, never> {
  for (let round = 0; ; round += 1) {
    for (const chunk of pseudoRandomBytes(`${seed} ${round}`, CHUNK)) {
      for (let at = 0; at < chunk.length; at += 4) yield chunk.readUInt32LE(at);
    }
  }
}

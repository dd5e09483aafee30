import { createHash, randomBytes } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { HashThread, OUTPUT_MEMORY } from '#src/index/hash-thread.js';
import { DirectHasher, type LayerHasher } from '#src/index/layer-hasher.js';

const INPUT_SIZE = 64 << 10;
/** More orders than the queue holds, so that its places are used again. */
const PIECES = 3000;

function threadOf(arena: SharedArrayBuffer): HashThread {
  const thread = new HashThread(arena);
  onTestFinished(() => thread.close());
  return thread;
}

const sha256 = (parts: readonly Buffer[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

test.each<[string, (arena: SharedArrayBuffer) => LayerHasher]>([
  ['in the calling thread', () => new DirectHasher()],
  ['on a thread', threadOf],
])('hashes blob, tar and spans %s', (_, make) => {
  const arena = new SharedArrayBuffer(INPUT_SIZE + OUTPUT_MEMORY);
  const hasher = make(arena);
  const input = Buffer.from(arena, 0, INPUT_SIZE);
  const expected = { blob: [] as Buffer[], tar: [] as Buffer[], spans: [] as Buffer[][] };
  for (let number = 0; number < PIECES; number++) {
    const bytes = randomBytes(1 + (number % 700));
    const output = hasher.nextOutput().subarray(0, bytes.length);
    bytes.copy(output);
    hasher.update('tar', output);
    if (number % 10 === 0) expected.spans.push([]);
    expected.spans.at(-1)?.push(bytes);
    expected.tar.push(bytes);
    if (number % 10 === 9) hasher.endSpan();
    bytes.copy(input);
    hasher.update('blob', input.subarray(0, bytes.length));
    expected.blob.push(bytes);
    hasher.settle(hasher.mark);
    if (number % 3 === 0) input.fill(0);
  }
  expect(hasher.finish()).toEqual({
    blob: sha256(expected.blob),
    tar: sha256(expected.tar),
    spans: expected.spans.map(sha256),
  });
});

test('an output is given again only when it is hashed', () => {
  const hasher = threadOf(new SharedArrayBuffer(OUTPUT_MEMORY));
  const written: Buffer[] = [];
  for (let number = 0; number < 64; number++) {
    const output = hasher.nextOutput();
    const bytes = randomBytes(output.length);
    bytes.copy(output);
    hasher.update('tar', output);
    written.push(bytes);
  }
  expect(hasher.finish().tar).toEqual(sha256(written));
});

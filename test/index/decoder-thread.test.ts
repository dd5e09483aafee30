import { randomBytes } from 'node:crypto';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { digestFromHash, digestOf } from '#src/common/digest.js';
import type { Checkpoint, DecoderListener, SpanDecoder } from '#src/index/decoder-model.js';
import { DECODER_MEMORY } from '#src/index/decoder-protocol.js';
import { DecoderThread } from '#src/index/decoder-thread.js';
import { decodeHere } from '#src/index/index-builder.js';
import { WindowPacker } from '#src/index/pack-window.js';
import { digestMemory } from '#src/index/shared-digests.js';
import { SpanRecorder } from '#src/index/span-recorder.js';
import { RunningDigests } from '#src/index/layer-digests.js';

const OPTIONS = { spanSize: 64 << 10, checksums: true };
const PIECE = 10_000;

/** What a decoder tells, in order; of bytes that follow one another the digest. */
function recording(): DecoderListener & { told: () => unknown[] } {
  const told: unknown[] = [];
  /** Where they come among the output is of no matter. */
  const windows: unknown[] = [];
  let bytes: Buffer[] = [];
  const tell = (...what: unknown[]): void => {
    if (bytes.length > 0) told.push(digestOf(Buffer.concat(bytes)));
    bytes = [];
    told.push(...what);
  };
  return {
    output: (piece) => bytes.push(Buffer.from(piece)),
    checkpoint: (at: Checkpoint) => tell(at),
    window(bytes, blocks) {
      using packer = new WindowPacker();
      this.packedWindow(packer.pack(bytes, blocks));
    },
    packedWindow: (bytes) => windows.push(digestOf(bytes)),
    split: () => tell('split'),
    told() {
      tell();
      return [...told, ...windows];
    },
  };
}

function startThread(): DecoderThread {
  const thread = new DecoderThread();
  onTestFinished(() => thread.end());
  return thread;
}

function startOn(
  thread: DecoderThread,
  blob: Buffer,
  listener: DecoderListener,
): { decoder: SpanDecoder; bytes: Buffer } {
  const arena = new SharedArrayBuffer(blob.length + DECODER_MEMORY);
  const bytes = Buffer.from(arena, 0, blob.length);
  blob.copy(bytes);
  const job = { arena, memoryOffset: blob.length, compression: 'gzip', ...OPTIONS } as const;
  return { decoder: thread.begin(job, listener), bytes };
}

function decodeOn(thread: DecoderThread, blob: Buffer, listener: DecoderListener): number {
  const { decoder, bytes } = startOn(thread, blob, listener);
  for (let at = 0; at < blob.length; at += PIECE) decoder.push(bytes.subarray(at, at + PIECE));
  return decoder.finish();
}

/** More output than the thread has memory for. */
const plain = Buffer.concat(
  Array.from({ length: 120 }, (_, i) =>
    i % 3 === 0 ? Buffer.alloc(50_000, i) : randomBytes(50_000),
  ),
);

test('tells the same as in the calling thread, of one layer after another', () => {
  const thread = startThread();
  for (const blob of [gzipSync(plain, { level: 1 }), gzipSync(plain.subarray(0, 99_999))]) {
    const [here, there] = [recording(), recording()];
    const decoder = decodeHere('gzip', here, OPTIONS);
    decoder.push(blob);
    const end = decoder.finish();
    expect(decodeOn(thread, blob, there)).toBe(end);
    const told = here.told();
    expect(there.told()).toEqual(told);
    expect(told.length).toBeGreaterThan(1);
  }
});

test.skipIf(digestMemory() === undefined).each([
  { who: 'this thread', milliseconds: 0 },
  { who: 'the decoder, which waits for room', milliseconds: 50 },
])('has tar and spans hashed by $who', ({ milliseconds }) => {
  const thread = startThread();
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const blob = gzipSync(plain, { level: 1 });
  for (let layer = 0; layer < 2; layer += 1) {
    const digests = new RunningDigests();
    const recorder = new SpanRecorder(
      digests,
      () => undefined,
      () => void Atomics.wait(pause, 0, 0, recorder.tarSize < 1 << 20 ? milliseconds : 0),
    );
    const { decoder, bytes } = startOn(thread, blob, recorder);
    if (decoder.digests !== undefined) digests.computeTarBy(decoder.digests);
    decoder.push(bytes);
    const spans = recorder.finish(decoder.finish());
    const ends = [...spans.slice(1).map(({ tarOffset }) => tarOffset), plain.length];
    const { tar, spans: spanDigests } = digests.finish();
    expect(digestFromHash(tar)).toBe(digestOf(plain));
    expect(spanDigests.map(digestFromHash)).toEqual(
      spans.map(({ tarOffset }, number) => digestOf(plain.subarray(tarOffset, ends[number]))),
    );
  }
});

test('passes on what is wrong with the bytes', () => {
  const blob = gzipSync(plain);
  blob.fill(0xff, 1000, 2000);
  const thread = startThread();
  expect(() => decodeOn(thread, blob, recording())).toThrow(
    expect.objectContaining({ code: 'corrupt', message: expect.stringMatching(/damaged gzip/) }),
  );
});

test('lets go of a thread that waits for room', async () => {
  const thread = startThread();
  const listener = {
    ...recording(),
    output: () => {
      throw new Error('enough');
    },
  };
  expect(() => decodeOn(thread, deflatedAndMore(), listener)).toThrow('enough');
  await thread.end();
});

/** Zeros that a few bytes inflate to. */
function deflatedAndMore(): Buffer {
  const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
  return Buffer.concat([header, deflateRawSync(Buffer.alloc(32 << 20))]);
}

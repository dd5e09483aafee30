import { FrameReader, encodeFrame } from '#src/exec/attach-protocol.js';
import { DetachKeys } from '#src/exec/detach-keys.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const data = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const number = fc.nat(2 ** 32 - 1);
const frame = fc.oneof(
  fc.record({ kind: fc.constantFrom('input', 'stdout', 'stderr'), data }),
  fc.record({ kind: fc.constantFrom('input-end', 'hold', 'lagging') }),
  fc.record({ kind: fc.constant('resize'), columns: number, rows: number }),
  fc.record({ kind: fc.constant('signal'), name: fc.constantFrom('SIGINT', 'SIGTERM') }),
  fc.record({ kind: fc.constant('exit'), code: number }),
) as fc.Arbitrary<Parameters<typeof encodeFrame>[0]>;

test('frames come out as they went in, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(frame), fc.integer({ min: 1, max: 50 }), (frames, size) => {
      const bytes = Buffer.concat(frames.map(encodeFrame));
      const reader = new FrameReader();
      const read = [];
      for (let at = 0; at < bytes.length; at += size) {
        read.push(...reader.push(bytes.subarray(at, at + size)));
      }
      expect(read).toEqual(frames);
    }),
  );
});

test.each([
  ['a kind that is none', Buffer.from([9, 0, 0, 0, 0])],
  ['a length that is absurd', Buffer.from([1, 255, 0, 0, 0])],
  ['an exit without a code', Buffer.from([6, 0, 0, 0, 1, 0])],
])('FrameReader refuses %s', (_, bytes) => {
  expect(() => new FrameReader().push(bytes)).toThrow(
    expect.objectContaining({ code: 'corrupt' }) as Error,
  );
});

test.each<[string, string[], string, boolean]>([
  ['plain text', ['ab', 'c'], 'abc', false],
  ['Ctrl-P Ctrl-Q', ['a\x10\x11b'], 'a', true],
  ['Ctrl-P and Ctrl-Q apart', ['a\x10', '\x11'], 'a', true],
  ['Ctrl-P alone', ['\x10x'], '\x10x', false],
  ['Ctrl-P twice, then Ctrl-Q', ['\x10\x10\x11'], '\x10', true],
  ['Ctrl-Q alone', ['\x11'], '\x11', false],
])('DetachKeys: %s', (_, chunks, text, detached) => {
  const keys = new DetachKeys();
  const outcomes = chunks.map((chunk) => keys.push(Buffer.from(chunk, 'latin1')));
  expect(Buffer.concat(outcomes.map((one) => one.data)).toString('latin1')).toBe(text);
  expect(outcomes.some(({ detach }) => detach)).toBe(detached);
});

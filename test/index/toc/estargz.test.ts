import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gzipSync } from 'node:zlib';
import { parseStargzFooter, unpackStargzToc } from '#src/index/toc/estargz.js';
import { file, tarOf } from '../../support/images.js';
import { footerOf } from './support/stargz-bytes.js';

describe('parseStargzFooter', () => {
  it.each([
    ['estargz', false, 51],
    ['legacy stargz', true, 47],
  ])('reads the footer of %s', (kind, legacy, size) => {
    const blob = Buffer.concat([Buffer.alloc(100), footerOf(42, legacy)]);
    expect(parseStargzFooter(blob, blob.length)).toEqual({ kind, size, tocOffset: 42 });
  });

  it('finds none in the end of an ordinary gzip blob, a short one or none at all', () => {
    const blob = gzipSync(Buffer.alloc(100, 'x'));
    for (const tail of [blob, blob.subarray(-10), Buffer.alloc(0)]) {
      expect(parseStargzFooter(tail, tail.length)).toBeUndefined();
    }
  });

  it('finds none where any byte of its form is another', () => {
    const footer = footerOf(0);
    const isForm = (at: number): boolean => at < 4 || (at >= 10 && at < 38);
    for (const at of footer.keys()) {
      const changed = Buffer.from(footer);
      // No hexadecimal digit, nor what was there.
      changed[at] = (footer[at] ?? 0) ^ 0x80;
      const found = parseStargzFooter(Buffer.concat([Buffer.alloc(9), changed]), 60);
      expect(found === undefined, `byte ${at}`).toBe(isForm(at));
    }
  });

  it('refuses an offset outside the blob', () => {
    const blob = Buffer.concat([Buffer.alloc(100), footerOf(100)]);
    expect(() => parseStargzFooter(blob, blob.length)).toThrow(
      'Cannot read table of contents: its footer says that it lies at byte 100, expected one before 100',
    );
    const far = Buffer.concat([Buffer.alloc(100), footerOf(2 ** 52)]);
    expect(() => parseStargzFooter(far, far.length)).toThrow('expected one before 100');
  });

  it('takes any bytes', () => {
    const tails = fc.uint8Array({ maxLength: 80 });
    fc.assert(
      fc.property(tails, (tail) => {
        expect(parseStargzFooter(Buffer.from(tail), tail.length)).toBeUndefined();
      }),
    );
  });
});

describe('unpackStargzToc', () => {
  it('gives the JSON of the one file', async () => {
    const packed = gzipSync(await tarOf([file('stargz.index.json', '{"version":1}')]));
    expect(unpackStargzToc(packed, 1 << 20).toString()).toBe('{"version":1}');
  });

  it('refuses a member that inflates to more than the limit', async () => {
    const packed = gzipSync(await tarOf([file('stargz.index.json', Buffer.alloc(1 << 20))]));
    expect(() => unpackStargzToc(packed, 1 << 20)).toThrow('expected at most 1048576 bytes');
  });

  it.each<[string, () => Promise<Buffer>]>([
    ['another file', async () => gzipSync(await tarOf([file('index.json', '{}')]))],
    ['nothing', async () => gzipSync(Buffer.alloc(0))],
    [
      'a file that is cut',
      async () =>
        gzipSync((await tarOf([file('stargz.index.json', Buffer.alloc(2000))])).subarray(0, 1024)),
    ],
  ])('refuses a member with %s', async (_, make) => {
    const packed = await make();
    expect(() => unpackStargzToc(packed, 1 << 20)).toThrow('expected a tar of "stargz.index.json"');
  });

  it('refuses what is no gzip', () => {
    expect(() => unpackStargzToc(Buffer.from('plain'), 100)).toThrow('its gzip member is damaged');
  });
});

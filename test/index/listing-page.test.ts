import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Inode } from '#src/index/layer-model.js';
import { ListingCursor, ListingPacker } from '#src/index/listing-page.js';
import { PAGE_ENTRIES } from '#src/index/schema.js';

const word = fc.oneof(fc.constantFrom(0, 1, 0o100644), fc.nat(0xffffffff));

const inode: fc.Arbitrary<Inode> = fc.record({
  ino: fc.nat(0xffffffff),
  mode: word,
  nlink: word,
  uid: word,
  gid: word,
  size: fc.oneof(fc.nat(9999), fc.constantFrom(2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER)),
  mtimeSeconds: fc.oneof(fc.constantFrom(0, 1), fc.maxSafeInteger()),
  mtimeNanoseconds: fc.oneof(fc.constant(0), fc.nat(999_999_999)),
  rdevMajor: word,
  rdevMinor: word,
});

const entry = fc.record({ name: fc.uint8Array({ minLength: 1, maxLength: 255 }), inode });

test('a page gives back what was packed, one page after another', () => {
  fc.assert(
    fc.property(fc.array(fc.array(entry, { minLength: 1, maxLength: PAGE_ENTRIES })), (pages) => {
      const packer = new ListingPacker();
      for (const entries of pages) {
        for (const { name, inode } of entries) packer.add(name, inode);
        expect(packer.isFull).toBe(entries.length === PAGE_ENTRIES);
        expect(unpack(packer.take(7))).toEqual(
          entries.map(({ name, inode }) => ({ name: Buffer.from(name), inode })),
        );
        expect(packer.isEmpty).toBe(true);
      }
    }),
  );
});

test('any bytes are read within their bounds or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        for (const { name } of unpack(Buffer.from(bytes))) expect(name.length).toBeLessThan(256);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }),
  );
});

function unpack(page: Buffer): { name: Buffer; inode: Inode }[] {
  const entries: { name: Buffer; inode: Inode }[] = [];
  const cursor = new ListingCursor(page);
  expect(cursor.parent).toBe(page.readUInt32LE(0));
  while (cursor.next()) entries.push({ name: cursor.name(), inode: cursor.inode() });
  return entries;
}

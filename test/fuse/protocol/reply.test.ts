import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Inode } from '#src/index/layer-model.js';
import { Reply } from '#src/fuse/protocol/reply.js';

const inode: Inode = {
  ino: 5,
  mode: 0o104755,
  nlink: 2,
  uid: 1,
  gid: 2,
  size: 5_000_000_001,
  mtimeSeconds: -2,
  mtimeNanoseconds: 999_999_999,
  rdevMajor: 0,
  rdevMinor: 0,
};

describe('Reply', () => {
  it('writes the header of an answer, and of an error without its results', () => {
    const reply = new Reply(100);
    reply.bytes(Buffer.from('abc'));
    reply.finish(7, 0x8000_0000, 0);
    expect(reply.buffer.readUInt32LE(0)).toBe(19);
    expect(reply.buffer.readInt32LE(4)).toBe(0);
    expect(reply.buffer.readBigUInt64LE(8)).toBe(0x8000_0000_0000_0007n);
    reply.finish(7, 0, 5);
    expect(reply.length).toBe(16);
    expect(reply.buffer.readInt32LE(4)).toBe(-5);
  });

  it('writes fuse_entry_out', () => {
    const reply = new Reply(200);
    reply.entry(3, inode, { entry: 2 ** 33, attributes: 10 });
    const out = reply.buffer.subarray(16);
    expect(reply.length).toBe(16 + 128);
    expect(out.readBigUInt64LE(0)).toBe((3n << 32n) | 5n);
    expect(out.readBigUInt64LE(16)).toBe(2n ** 33n);
    expect(out.readBigUInt64LE(24)).toBe(10n);
    const attributes = out.subarray(40);
    expect(attributes.readBigUInt64LE(0)).toBe((3n << 32n) | 5n);
    expect(attributes.readBigUInt64LE(8)).toBe(5_000_000_001n);
    expect(attributes.readBigUInt64LE(16)).toBe(9_765_626n);
    expect(attributes.readUInt32LE(60)).toBe(0o104755);
    expect([64, 68, 72].map((at) => attributes.readUInt32LE(at))).toEqual([2, 1, 2]);
  });

  it('writes times before 1970 as the kernel counts them', () => {
    const reply = new Reply(200);
    reply.attributes(3, inode, 1);
    const attributes = reply.buffer.subarray(32);
    for (const at of [24, 32, 40]) expect(attributes.readBigInt64LE(at)).toBe(-2n);
    for (const at of [48, 52, 56]) expect(attributes.readUInt32LE(at)).toBe(999_999_999);
  });

  it('encodes device numbers as new_encode_dev does', () => {
    fc.assert(
      fc.property(fc.nat(0xfff), fc.nat(0xfffff), (rdevMajor, rdevMinor) => {
        const reply = new Reply(200);
        reply.attributes(1, { ...inode, rdevMajor, rdevMinor }, 1);
        const device = reply.buffer.readUInt32LE(32 + 76);
        expect((device & 0xff) | ((device >>> 12) & 0xfff00)).toBe(rdevMinor);
        expect((device >>> 8) & 0xfff).toBe(rdevMajor);
      }),
    );
  });

  it('keeps directory entries aligned and within the limit', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 255 }), { maxLength: 40 }),
        fc.integer({ min: 24, max: 4096 }),
        fc.boolean(),
        (names, limit, plus) => {
          const reply = new Reply(4096);
          const written = names.filter((name, at) => {
            const entry = { ...inode, bytes: name, nameStart: 0, nameEnd: name.length };
            const record = { entry, layer: 1, next: at + 1 };
            if (plus) return reply.directoryEntryPlus(record, limit);
            return reply.directoryEntry(record, limit);
          });
          expect(reply.length - 16).toBeLessThanOrEqual(limit);
          expect(readNames(reply, plus)).toEqual(written.map((name) => Buffer.from(name)));
        },
      ),
    );
  });
});

function readNames(reply: Reply, plus: boolean): Buffer[] {
  const names: Buffer[] = [];
  for (let at = 16; at < reply.length;) {
    const entry = at + (plus ? 128 : 0);
    const length = reply.buffer.readUInt32LE(entry + 16);
    names.push(Buffer.from(reply.buffer.subarray(entry + 24, entry + 24 + length)));
    at = entry + ((24 + length + 7) & ~7);
    expect((at - 16) % 8).toBe(0);
  }
  return names;
}

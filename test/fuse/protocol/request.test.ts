import { describe, expect, it } from 'vitest';
import { ProtocolError, Request, uniqueKey } from '#src/fuse/protocol/request.js';

/** A message with this header and these arguments. */
function message(args: Buffer, length = 40 + args.length): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(length, 0);
  header.writeUInt32LE(15, 4);
  header.writeBigUInt64LE(0x8000_0001_0000_0002n, 8);
  header.writeBigUInt64LE((7n << 32n) | 9n, 16);
  header.writeUInt32LE(1000, 24);
  header.writeUInt32LE(4321, 32);
  return Buffer.concat([header, args]);
}

function load(bytes: Buffer): Request {
  const request = new Request();
  bytes.copy(request.buffer);
  request.load(bytes.length);
  return request;
}

describe('Request', () => {
  it('splits the node id into layer and inode, and the unique into halves', () => {
    expect(load(message(Buffer.alloc(0)))).toMatchObject({
      opcode: 15,
      uniqueLow: 2,
      uniqueHigh: 0x8000_0001,
      layer: 7,
      ino: 9,
      uid: 1000,
      pid: 4321,
    });
  });

  it('reads offsets beyond 4 GiB', () => {
    const args = Buffer.alloc(8);
    args.writeBigUInt64LE(2n ** 40n + 5n);
    expect(load(message(args)).u64(0)).toBe(2 ** 40 + 5);
  });

  it('gives names byte for byte', () => {
    const name = Buffer.from([0xff, 0x41, 0xfe]);
    expect(load(message(Buffer.concat([name, Buffer.of(0)]))).name(0)).toEqual(name);
  });

  it.each([
    ['shorter than a header', Buffer.alloc(39)],
    ['of another length than it says', message(Buffer.alloc(8), 40)],
  ])('refuses a message %s', (_, bytes) => {
    expect(() => load(bytes)).toThrow(ProtocolError);
  });

  it('refuses to read beyond the message, whatever an earlier one left in the buffer', () => {
    const request = load(message(Buffer.from('long name\0')));
    const short = message(Buffer.from('abc'));
    short.copy(request.buffer);
    request.load(short.length);
    expect(() => request.name(0)).toThrow(ProtocolError);
    expect(() => request.u32(0)).toThrow(ProtocolError);
    expect(() => request.u64(0)).toThrow(ProtocolError);
  });
});

describe('uniqueKey', () => {
  it('is the same for a request and its resent copy', () => {
    expect(uniqueKey(4, 0x8000_0000)).toBe(uniqueKey(4, 0));
    expect(uniqueKey(4, 1)).toBe(2 ** 32 + 4);
  });
});

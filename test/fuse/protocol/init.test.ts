import { describe, expect, it } from 'vitest';
import { negotiate } from '#src/fuse/protocol/init.js';
import { ProtocolError, Request } from '#src/fuse/protocol/request.js';

interface Offer {
  opcode?: number;
  major?: number;
  minor?: number;
  flags?: number;
  flags2?: number;
}

function offer({ opcode = 26, major = 7, minor = 45, flags = -1, flags2 = -1 }: Offer): Request {
  const request = new Request();
  request.buffer.writeUInt32LE(104, 0);
  request.buffer.writeUInt32LE(opcode, 4);
  request.buffer.writeUInt32LE(2, 8);
  request.buffer.writeUInt32LE(major, 40);
  request.buffer.writeUInt32LE(minor, 44);
  request.buffer.writeUInt32LE(131_072, 48);
  request.buffer.writeInt32LE(flags, 52);
  request.buffer.writeInt32LE(flags2, 56);
  request.load(104);
  return request;
}

const initExt = 1 << 30;

describe('negotiate', () => {
  it('agrees on what the kernel offers and the server wants', () => {
    const { agreement, reply } = negotiate(offer({}));
    expect(agreement).toEqual({
      kernelMinor: 45,
      maxRead: 2 ** 20,
      noOpen: true,
      noOpendir: true,
      resend: true,
      noXattrs: false,
    });
    expect(reply.readUInt32LE(0)).toBe(80);
    expect(reply.readUInt32LE(8)).toBe(2);
    expect(reply.readUInt32LE(16)).toBe(7);
    expect(reply.readUInt32LE(16 + 8)).toBe(131_072);
  });

  it('asks for nothing that was not offered', () => {
    const { agreement, reply } = negotiate(offer({ flags: initExt, flags2: 0 }));
    expect(agreement).toMatchObject({ noOpen: false, noOpendir: false, resend: false });
    expect(reply.readUInt32LE(16 + 12)).toBe(initExt);
    expect(reply.readUInt32LE(16 + 32)).toBe(0);
  });

  it('takes the second flag word for nothing where the kernel does not send it', () => {
    expect(negotiate(offer({ flags: 0 })).agreement.resend).toBe(false);
  });

  it.each([
    ['another operation', { opcode: 3 }],
    ['another major version', { major: 8 }],
    ['a version that is too old', { minor: 27 }],
  ])('refuses %s', (_, kernel) => {
    expect(() => negotiate(offer(kernel))).toThrow(ProtocolError);
  });
});

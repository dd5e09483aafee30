import { expect, it } from 'vitest';
import { resend, rootChanged, rootEntryChanged } from '#src/fuse/protocol/notification.js';

it('rootChanged invalidates the root inode as a whole', () => {
  const message = rootChanged();
  expect([0, 4].map((at) => message.readUInt32LE(at))).toEqual([40, 2]);
  expect([8, 16, 24, 32].map((at) => message.readBigUInt64LE(at))).toEqual([0n, 1n, 0n, 0n]);
});

it('rootEntryChanged names the entry with a closing NUL that its length leaves out', () => {
  const message = rootEntryChanged('12');
  expect([0, 4].map((at) => message.readUInt32LE(at))).toEqual([35, 3]);
  expect(message.readBigUInt64LE(16)).toBe(1n);
  expect(message.readUInt32LE(24)).toBe(2);
  expect(message.subarray(32)).toEqual(Buffer.from('12\0'));
});

it('resend is a bare header', () => {
  expect(resend()).toEqual(Buffer.from('10000000070000000000000000000000', 'hex'));
});

import { describe, expect, test } from 'vitest';
import {
  formatPlatform,
  hostPlatform,
  normalizePlatform,
  parsePlatform,
  platformRank,
} from '#src/content/platform.js';

describe('parsePlatform', () => {
  test.each([
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64/8', 'linux/arm64'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['linux/i386', 'linux/386'],
    ['Linux/AMD64', 'linux/amd64'],
    ['macos/arm64', 'darwin/arm64'],
    ['riscv64', 'linux/riscv64'],
  ])('reads %s as %s', (text, expected) => {
    expect(formatPlatform(parsePlatform(text))).toBe(expected);
  });

  test.each(['', 'linux/', 'a/b/c/d', 'linux/am d64'])('refuses "%s"', (text) => {
    expect(() => parsePlatform(text)).toThrow(/expected os\/architecture\[\/variant\]/);
  });
});

describe('platformRank', () => {
  test.each([
    ['linux/amd64', 'linux/amd64', 0],
    ['linux/amd64', 'linux/386', 1],
    ['linux/amd64', 'linux/amd64/v2', undefined],
    ['linux/amd64/v3', 'linux/amd64/v2', 1],
    ['linux/amd64/v3', 'linux/amd64', 2],
    ['linux/arm64', 'linux/arm64/v8', 0],
    ['linux/arm64', 'linux/arm/v7', 2],
    ['linux/arm/v7', 'linux/arm/v6', 1],
    ['linux/arm/v6', 'linux/arm/v7', undefined],
    ['linux/amd64', 'linux/arm64', undefined],
    ['linux/amd64', 'windows/amd64', undefined],
    ['linux/s390x', 'linux/s390x', 0],
  ])('a %s machine takes %s with rank %s', (wanted, offered, rank) => {
    expect(platformRank(parsePlatform(wanted), parsePlatform(offered))).toBe(rank);
  });
});

test('parsePlatform takes the architecture of this machine where only the system is named', () => {
  expect(parsePlatform('linux')).toEqual(hostPlatform());
  expect(parsePlatform('windows')).toEqual({ ...hostPlatform(), os: 'windows' });
});

test('hostPlatform is in normal form', () => {
  const host = hostPlatform();
  expect(normalizePlatform(host)).toEqual(host);
  expect(host.os).toBe('linux');
});

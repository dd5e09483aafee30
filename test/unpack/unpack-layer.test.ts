import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type Digest, type DiffId, digestOf } from '#src/common/digest.js';
import { errorCode } from '#src/common/errors.js';
import { unpackLayer } from '#src/unpack/unpack-layer.js';
import { type TarPiece, dir, file, tarOf } from '../index/support/tar-bytes.js';
import {
  inPieces,
  listing,
  temporaryFolder,
  unpackBytes,
  unpackingMissing,
} from './support/unpacked.js';

const skip = unpackingMissing() !== undefined;
const OTHER = `sha256:${'0'.repeat(64)}` as Digest;

/** A few megabytes, so that every buffer on the way is filled more than once. */
function largePieces(): TarPiece[] {
  return [
    dir('d'),
    ...Array.from({ length: 300 }, (_, n) => file(`d/${n}`, `small ${n}`.repeat(n))),
    file('large', randomBytes(3_000_001)),
    file('zeros', Buffer.alloc(5_000_000)),
  ];
}

const LARGE = largePieces();
const TAR = tarOf(...LARGE);
const GZIP = gzipSync(TAR);

function expectLarge(target: string): void {
  for (const { path, type, content = '' } of LARGE) {
    if (type === '5') continue;
    const found = readFileSync(join(target, path));
    expect(sha(found), path).toBe(sha(Buffer.from(content as string, 'latin1')));
  }
}

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function hasProgram(name: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, name)));
}

/** Descriptors of this process that lead below `folder`. */
function openBelow(folder: string): string[] {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The descriptor of the listing itself.
      return '';
    }
  });
  return links.filter((link) => link.startsWith(folder));
}

describe.skipIf(skip)('unpackLayer: needs root', () => {
  const expected = {
    blobDigest: digestOf(GZIP),
    blobSize: GZIP.length,
    diffId: digestOf(TAR) as DiffId,
  };

  it('unpacks gzip and tells the digests and sizes', async () => {
    const { target, layer } = await unpackBytes(GZIP, { expected, fresh: true });
    expectLarge(target);
    expect(layer).toEqual({
      compression: 'gzip',
      ...expected,
      tarSize: TAR.length,
      entries: LARGE.length,
      contentSize: LARGE.reduce((sum, { content = '' }) => sum + content.length, 0),
      implicitDirectories: [],
      ignoredXattrs: 0,
      rootDescribed: false,
    });
  });

  it.each([
    ['a plain tar', 'none', () => TAR],
    ['gzip of several members', 'gzip', () => membersOf(TAR)],
    ['gzip with zeros after it', 'gzip', () => Buffer.concat([GZIP, Buffer.alloc(1000)])],
    ['an empty tar', 'none', () => tarOf()],
    ['no bytes at all', 'none', () => Buffer.alloc(0)],
  ])('unpacks %s', async (_, compression, blob) => {
    const { target, layer } = await unpackBytes(blob());
    expect(layer.compression).toBe(compression);
    if (layer.entries > 0) expectLarge(target);
  });

  it.skipIf(!hasProgram('zstd'))('unpacks zstd: needs the program zstd', async () => {
    const zstd = execFileSync('zstd', ['-c'], { input: TAR, maxBuffer: 1 << 26 });
    const { target, layer } = await unpackBytes(zstd, {
      expected: { blobDigest: digestOf(zstd), diffId: expected.diffId },
    });
    expect(layer.compression).toBe('zstd');
    expectLarge(target);
    const cut = unpackBytes(zstd.subarray(0, zstd.length - 100));
    await expect(cut).rejects.toSatisfy((error) => errorCode(error) === 'corrupt');
  });

  it.each([
    ['another blob digest', GZIP, { ...expected, blobDigest: OTHER }, /its digest is/],
    ['another diff id', GZIP, { ...expected, diffId: OTHER as DiffId }, /its diff id is/],
    ['a blob too short', GZIP.subarray(0, -10), expected, /it has \d+ bytes, expected/],
    ['a blob too long', Buffer.concat([GZIP, GZIP]), expected, /bytes or more, expected/],
    ['a cut gzip', GZIP.subarray(0, -10), {}, /in the middle of the gzip data/],
    ['damaged gzip', damaged(GZIP), {}, /damaged gzip data/],
    [
      'something after the gzip',
      Buffer.concat([GZIP, Buffer.from('x')]),
      {},
      /follow the gzip data/,
    ],
    ['a cut tar', TAR.subarray(0, 400_000), {}, /it ends at byte/],
    ['no tar', randomBytes(2000), {}, /checksum/],
  ])('refuses %s and leaves nothing', async (_, blob, expectation, message) => {
    const target = join(temporaryFolder(), 'root');
    const unpacking = unpackBytes(blob, { target, fresh: true, expected: expectation });
    await expect(unpacking).rejects.toThrow(message);
    await expect(unpacking).rejects.toSatisfy((error) => errorCode(error) === 'corrupt');
    expect(existsSync(target)).toBe(false);
  });

  it.each([
    ['xz', Buffer.from('fd377a585a000000', 'hex')],
    ['bzip2', Buffer.from('BZh91AY&SY')],
  ])('leaves %s to others', async (name, blob) => {
    const unpacking = unpackBytes(blob);
    await expect(unpacking).rejects.toThrow(name);
    await expect(unpacking).rejects.toSatisfy((error) => errorCode(error) === 'unsupported');
  });

  it('refuses a fresh target that is there', async () => {
    const target = temporaryFolder();
    const unpacking = unpackBytes(TAR, { target, fresh: true });
    await expect(unpacking).rejects.toSatisfy((error) => errorCode(error) === 'already-exists');
    expect(existsSync(target)).toBe(true);
  });

  it('passes on what the source throws, and leaves nothing', async () => {
    const target = join(temporaryFolder(), 'root');
    const source = (async function* () {
      yield* inPieces(GZIP.subarray(0, 1_000_000));
      throw new Error('the source broke');
    })();
    const unpacking = unpackLayer({ source, target, form: 'overlay', fresh: true });
    await expect(unpacking).rejects.toThrow('the source broke');
    expect(existsSync(target)).toBe(false);
  });

  it('does not wait for a source that hangs when the layer is refused', async () => {
    const source = (async function* () {
      yield randomBytes(600_000);
      await new Promise(() => undefined);
    })();
    const target = join(temporaryFolder(), 'root');
    const unpacking = unpackLayer({ source, target, form: 'overlay', fresh: true });
    await expect(unpacking).rejects.toSatisfy((error) => errorCode(error) === 'corrupt');
  });

  it('ends when it is cancelled, closes everything and leaves nothing', async () => {
    const folder = temporaryFolder();
    const target = join(folder, 'root');
    const controller = new AbortController();
    const source = (async function* () {
      yield* inPieces(TAR.subarray(0, 2_000_000));
      setTimeout(() => controller.abort(), 50);
      await new Promise(() => undefined);
    })();
    const { signal } = controller;
    const unpacking = unpackLayer({ source, target, form: 'overlay', fresh: true, signal });
    await expect(unpacking).rejects.toSatisfy((error) => errorCode(error) === 'cancelled');
    expect(existsSync(target)).toBe(false);
    expect(openBelow(folder)).toEqual([]);
  });

  it('is cancelled at once while others keep it waiting', async () => {
    const folder = temporaryFolder();
    const hanging = new AbortController();
    const never = async function* (): AsyncGenerator<Uint8Array> {
      await new Promise(() => undefined);
      yield TAR;
    };
    const unpack = (name: string, signal: AbortSignal): Promise<unknown> =>
      unpackLayer({
        source: never(),
        target: join(folder, name),
        form: 'overlay',
        fresh: true,
        signal,
      });
    const busy = ['a', 'b'].map((name) => unpack(name, hanging.signal));
    const impatient = new AbortController();
    setTimeout(() => impatient.abort(), 20);
    const waiting = unpack('c', impatient.signal);
    await expect(waiting).rejects.toSatisfy((error) => errorCode(error) === 'cancelled');
    hanging.abort();
    const ends = await Promise.allSettled(busy);
    expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('unpacks many layers at once, and after failures', async () => {
    const folder = temporaryFolder();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 6 }, (_, n) =>
        unpackBytes(n % 3 === 2 ? damaged(GZIP) : GZIP, {
          target: join(folder, String(n)),
          fresh: true,
          expected: n % 3 === 2 ? {} : expected,
        }),
      ),
    );
    const good = outcomes.map(({ status }) => status === 'fulfilled');
    expect(good).toEqual(Array.from({ length: 6 }, (_, n) => n % 3 !== 2));
    expect(readdirSync(folder).length).toBe(4);
    expect(listing(join(folder, '0')).length).toBe(LARGE.length);
    expect(openBelow(folder)).toEqual([]);
  }, 60_000);
});

function membersOf(tar: Buffer): Buffer {
  const third = Math.floor(tar.length / 3);
  const cuts = [0, third, third, 2 * third, tar.length];
  return Buffer.concat(cuts.slice(1).map((end, n) => gzipSync(tar.subarray(cuts[n], end))));
}

function damaged(gzip: Buffer): Buffer {
  const copy = Buffer.from(gzip);
  copy.fill(0xff, 100_000, 100_064);
  return copy;
}

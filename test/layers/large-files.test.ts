import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { silentLogger } from '#src/common/log.js';
import { ContentStore } from '#src/content/content-store.js';
import { buildIndex } from '#src/index/build-index.js';
import { LayerIndex } from '#src/index/layer-index.js';
import type { LargeFilesOptions } from '#src/layers/large-files.js';
import { file, pieceBytes } from '../index/support/tar-bytes.js';
import { temporaryFolder, unpackingMissing } from '../unpack/support/unpacked.js';

const SIZE = 100_000;
const missing = unpackingMissing();
vi.stubEnv('SIPHON_LARGE_FILE', String(SIZE));
const { LargeFiles, dropLargeFiles } = await import('#src/layers/large-files.js');
afterAll(() => vi.unstubAllEnvs());

/** Writes the large files of layers that have one each, which was read. */
async function writerOf(
  options: Pick<LargeFilesOptions, 'room' | 'onWritten' | 'pause'>,
  signal: AbortSignal,
) {
  const root = temporaryFolder();
  const directoryOf = (layer: number): string => join(root, String(layer));
  const indexPathOf = (layer: number): string => join(directoryOf(layer), 'index.db');
  const content = await ContentStore.open(join(root, 'content'));
  const places = { content, directoryOf, indexPathOf };
  const largeFiles = new LargeFiles({ ...places, quiet: 0, log: silentLogger, ...options });
  const write = async (number: number): Promise<void> => {
    mkdirSync(directoryOf(number), { recursive: true });
    const path = join(directoryOf(number), 'layer.tar');
    const tar = Buffer.concat([pieceBytes(file('large', randomBytes(SIZE))), Buffer.alloc(1024)]);
    writeFileSync(path, tar);
    await buildIndex(Readable.from([tar]), { output: indexPathOf(number) });
    using index = LayerIndex.open(indexPathOf(number));
    const presence = new SharedArrayBuffer(index.info.spanCount);
    new Uint8Array(presence).fill(1);
    const cache = { presence, used: new SharedArrayBuffer(4 * index.info.spanCount) };
    const record = { number, blobDigest: digestOf(tar), origin: { kind: 'file', path } as const };
    await largeFiles.write({ record, index, cache }, signal);
  };
  return { directoryOf, write };
}

it('large files that another process takes away at the same time are gone for both', async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'files/tree'), { recursive: true });
  await Promise.all([dropLargeFiles(folder), dropLargeFiles(folder)]);
  expect(readdirSync(folder)).toEqual([]);
});

describe.skipIf(missing !== undefined)(`trees of large files (${missing ?? 'as root'})`, () => {
  it('are written one after the other, so that no two take the same room', async () => {
    const over = new AbortController();
    let room = 1.5 * SIZE;
    const onWritten = (bytes: number): void => {
      room -= bytes;
      setTimeout(() => over.abort(), 500);
    };
    const { directoryOf, write } = await writerOf({ room: () => room, onWritten }, over.signal);
    await Promise.all([1, 2].map(write));
    const written = [1, 2].filter((number) => existsSync(join(directoryOf(number), 'files')));
    expect(written).toHaveLength(1);
  });

  it('are written once there is room, in place of what a process left whose id has another now', async () => {
    let looks = 0;
    const room = (): number => (++looks === 1 ? 0 : Infinity);
    const options = { room, pause: 1, onWritten: () => undefined };
    const { directoryOf, write } = await writerOf(options, new AbortController().signal);
    const directory = directoryOf(1);
    const left = `files.${process.pid}-0123456789ab.tmp`;
    mkdirSync(join(directory, left, 'tree'), { recursive: true });
    await write(1);
    expect(looks).toBe(2);
    const names = readdirSync(directory).filter((name) => name.startsWith('files'));
    expect(names.toSorted()).toEqual(['files', 'files.lock']);
  });
});

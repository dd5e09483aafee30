import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, expect, it, vi } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { silentLogger } from '#src/common/log.js';
import { ContentStore } from '#src/content/content-store.js';
import { buildIndex } from '#src/index/build-index.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { file, pieceBytes } from '../index/support/tar-bytes.js';
import { temporaryFolder, unpackingMissing } from '../unpack/support/unpacked.js';

const SIZE = 100_000;
afterAll(() => vi.unstubAllEnvs());

it.skipIf(unpackingMissing() !== undefined)(
  'trees are written one after the other, so that no two take the same room',
  async () => {
    vi.stubEnv('SIPHON_LARGE_FILE', String(SIZE));
    const { LargeFiles } = await import('#src/layers/large-files.js');
    const root = temporaryFolder();
    const directoryOf = (layer: number): string => join(root, String(layer));
    const indexPathOf = (layer: number): string => join(directoryOf(layer), 'index.db');
    const over = new AbortController();
    let room = 1.5 * SIZE;
    const largeFiles = new LargeFiles({
      content: await ContentStore.open(join(root, 'content')),
      directoryOf,
      indexPathOf,
      quiet: 0,
      room: () => room,
      onWritten: (bytes) => {
        room -= bytes;
        setTimeout(() => over.abort(), 500);
      },
      log: silentLogger,
    });
    const write = async (number: number): Promise<void> => {
      mkdirSync(directoryOf(number));
      const path = join(directoryOf(number), 'layer.tar');
      const tar = Buffer.concat([pieceBytes(file('large', randomBytes(SIZE))), Buffer.alloc(1024)]);
      writeFileSync(path, tar);
      await buildIndex(Readable.from([tar]), { output: indexPathOf(number) });
      using index = LayerIndex.open(indexPathOf(number));
      const presence = new SharedArrayBuffer(index.info.spanCount);
      new Uint8Array(presence).fill(1);
      const cache = { presence, used: new SharedArrayBuffer(4 * index.info.spanCount) };
      const record = { number, blobDigest: digestOf(tar), origin: { kind: 'file', path } as const };
      await largeFiles.write({ record, index, cache }, over.signal);
    };
    await Promise.all([1, 2].map(write));
    const written = [1, 2].filter((number) => existsSync(join(directoryOf(number), 'files')));
    expect(written).toHaveLength(1);
  },
  20_000,
);

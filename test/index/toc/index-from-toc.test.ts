import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DiffId, digestOf } from '#src/common/digest.js';
import { indexFromToc } from '#src/index/toc/index-from-toc.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

const digest = digestOf('no layer') as DiffId; // what a tar would have
/** A zstd frame of one raw block of four bytes. */
const frame = Buffer.concat([Buffer.from('28b52ffd2004210000', 'hex'), Buffer.from('null')]);

describe('indexFromToc', () => {
  it('is cancelled while the table is decoded, and leaves nothing', async () => {
    await using folder = await temporaryFolder();
    for (let ms = 0; ms < 60; ms += 5) {
      const making = indexFromToc(
        { format: 'zstd-chunked', bytes: frame, size: 4, payloadEnd: 100 },
        {
          output: join(folder.path, 'index.db'),
          layer: { blobDigest: digest, blobSize: 1000, diffId: digest },
          signal: AbortSignal.timeout(ms),
        },
      );
      await expect(making).rejects.toThrow(/cancelled|Cannot /);
    }
    expect(await readdir(folder.path)).toEqual([]);
  }, 30_000);
});

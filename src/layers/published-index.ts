/** An index as it was published: the SQLite file, gzip-compressed. From outside, so bounded. */

import { createWriteStream } from 'node:fs';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError, errorMessage } from '../common/errors.js';

/** No honest index comes near this: a million files take about 100 MiB. */
const indexSizeLimit = 2 * 1024 ** 3;

/**
 * Writes the decompressed index to `path`.
 * @throws SiphonError `corrupt` where it does not decompress or exceeds the limit; `no-space`
 */
export async function writeCompressedIndex(
  compressed: AsyncIterable<Uint8Array>,
  path: string,
): Promise<void> {
  try {
    await pipeline(
      Readable.from(compressed),
      createGunzip(),
      limitBytes(indexSizeLimit),
      createWriteStream(path, { mode: 0o600 }),
    );
  } catch (error) {
    if (error instanceof SiphonError) throw error;
    if (isDiskFull(error)) throw noRoom(path, error);
    throw new SiphonError('corrupt', 'Cannot decompress a published layer index: expected gzip', {
      cause: error,
    });
  }
}

function noRoom(path: string, cause: unknown): SiphonError {
  const message = `Cannot write index "${path}": ${errorMessage(cause)}, expected room for it`;
  return new SiphonError('no-space', message, { cause });
}

function limitBytes(limit: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length;
      if (seen <= limit) return done(null, chunk);
      done(
        new SiphonError(
          'corrupt',
          `Cannot take a published layer index: more than ${limit} bytes, expected at most that`,
        ),
      );
    },
  });
}

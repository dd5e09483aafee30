/** A registry that is out of reach for a while, in the middle of reading. */

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openOrigin } from '#src/content/layer-origin.js';
import { startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type Loss, dropPacketsTo, droppingMissing } from '../support/dropped-packets.js';
import { openRegistry, randomBlob, repository } from '../remote/helpers.js';

const missing = await droppingMissing();
const blob = randomBlob(1_000_000);

/** Reads at any time of an outage of `seconds`, by connections that stand and by new ones. */
async function readThrough(how: Loss, seconds: number): Promise<void> {
  const server = await startDockerRegistry();
  const signal = AbortSignal.timeout(60_000);
  const writer = openRegistry(server.host);
  await writer.pushBlob(blob.descriptor, blob.bytes, signal);
  await writer.close();
  const origin = { kind: 'registry', host: server.host, repository, plainHttp: true } as const;
  const source = await openOrigin(origin, blob.descriptor);
  const read = async (offset: number): Promise<void> => {
    const bytes = await source.read(offset, 1000, signal);
    expect(bytes.equals(blob.bytes.subarray(offset, offset + 1000))).toBe(true);
  };
  try {
    await read(0);
    const reads: Promise<void>[] = [];
    {
      await using _ = await dropPacketsTo(server.host, how);
      for (const part of [0, 1, 2, 3]) {
        reads.push(read(part * 100), read(part * 1000));
        await delay((seconds * 1000) / 4);
      }
    }
    await Promise.all([...reads, read(5000)]);
  } finally {
    await source.close();
    await server.close();
  }
}

describe.skipIf(missing !== undefined)(`a registry out of reach ${missing ?? ''}`, () => {
  test.concurrent.each([
    ['drop', 2],
    ['drop', 6],
    ['drop', 12],
    ['refuse', 2],
    ['refuse', 6],
    ['refuse', 12],
  ] as const)('for a while (%s, %d s) delays reads, and fails none', readThrough, 90_000);
});

import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { Urgency } from '#src/common/urgency.js';
import { BlobParts } from '#src/layers/blob-parts.js';
import { BlobStream } from '#src/layers/blob-stream.js';
import { temporaryFolder } from '../index/support/layers.js';

test('a stream that is stopped while a piece is written does not rest before it ends', async () => {
  let written: (isKept: boolean) => void = () => undefined;
  let asked = false;
  const stream = new BlobStream({
    async *open() {
      yield Buffer.alloc(10);
      await delay(0);
      yield Buffer.alloc(10);
    },
    keep: () => {
      asked = true;
      return new Promise((resolve) => (written = resolve));
    },
    urgency: new Urgency('fill'),
  });
  await expect.poll(() => asked).toBe(true);
  stream.stop(new Error('closed'));
  written(false);
  let hasEnded = false;
  const end = (): void => void (hasEnded = true);
  void stream.done.then(end, end);
  // A rest takes time; these take none.
  for (let turn = 0; turn < 100; turn += 1) await setImmediate();
  expect(hasEnded).toBe(true);
});

test('parts that are closed are cleared no more, for their descriptors may be of other files', async () => {
  const folder = temporaryFolder();
  const parts = await BlobParts.open(folder, 100);
  await parts?.write(0, Buffer.alloc(50, 1));
  await parts?.close();
  const path = join(folder, 'other');
  writeFileSync(path, 'not to be cut');
  const others = await Promise.all(Array.from({ length: 8 }, () => open(path, 'r+')));
  onTestFinished(() => Promise.all(others.map((other) => other.close())).then(() => undefined));
  await parts?.clear().catch(() => undefined);
  expect(readFileSync(path, 'utf8')).toBe('not to be cut');
});

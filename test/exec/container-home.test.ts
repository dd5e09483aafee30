import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ContainerHome } from '#src/exec/container-home.js';
import type { ContainerRecord } from '#src/exec/container-record.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const record = { id: 'c' } as ContainerRecord; // what a home looks at

test('nobody claims a container that is being removed', async () => {
  await using root = await temporaryFolder();
  const home = await ContainerHome.create(root.path, record);
  const claim = await home.claim();
  for (let n = 0; n < 200; n += 1) {
    mkdirSync(join(home.path, `${n}`));
    writeFileSync(join(home.path, `${n}`, 'file'), '');
  }
  const other = await ContainerHome.open(root.path, 'c');
  const claimed: unknown[] = [];
  let isGone = false;
  const removing = home.remove().finally(() => (isGone = true));
  while (!isGone) {
    const second = await other.claim();
    if (second !== undefined) claimed.push(await other.record());
    await second?.release();
  }
  await removing;
  await claim?.release();
  expect(claimed.filter((one) => one !== undefined)).toEqual([]);
  expect(existsSync(home.path)).toBe(false);
});

test('a container whose keeper has removed it is not there to be claimed', async () => {
  await using root = await temporaryFolder();
  const home = await ContainerHome.create(root.path, record);
  const claim = await home.claim();
  const waiting = home.claim(20_000);
  await home.remove();
  await claim?.release();
  expect(await waiting).toBeUndefined();
});

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SealedFile } from '#src/common/sealed-file.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const secret = Buffer.alloc(32, 7);
const text = Buffer.from('a password that nobody else reads');

test('what was sealed comes back with the same key alone, and for the same purpose', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'sealed');
  const file = new SealedFile(path, secret, 'a');
  expect(await file.read()).toBeUndefined();
  await file.write(text);
  expect((await readFile(path)).includes(text)).toBe(false);
  expect(await new SealedFile(path, secret, 'a').read()).toEqual(text);
  expect(await new SealedFile(path, Buffer.alloc(32, 8), 'a').read()).toBeUndefined();
  expect(await new SealedFile(path, secret, 'b').read()).toBeUndefined();
  await file.remove();
  expect(await file.read()).toBeUndefined();
});

test('it looks different each time it is written', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'sealed');
  const file = new SealedFile(path, secret, 'a');
  await file.write(text);
  const before = await readFile(path);
  await file.write(text);
  expect((await readFile(path)).equals(before)).toBe(false);
});

test('a byte that was changed anywhere, or a cut, is found out', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'sealed');
  const file = new SealedFile(path, secret, 'a');
  await file.write(text);
  const sealed = await readFile(path);
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = Buffer.from(sealed);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    await writeFile(path, changed);
    expect(await file.read()).toBeUndefined();
    await writeFile(path, sealed.subarray(0, at));
    expect(await file.read()).toBeUndefined();
  }
});

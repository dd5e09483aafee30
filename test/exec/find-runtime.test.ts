import { findRuntime } from '#src/exec/find-runtime.js';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'siphon-runtime-'));
  await writeFile(join(folder, 'my-runc'), '');
  await chmod(join(folder, 'my-runc'), 0o755);
  await writeFile(join(folder, 'plain'), '');
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

test('findRuntime searches PATH and takes paths', async () => {
  const path = join(folder, 'my-runc');
  expect(await findRuntime('my-runc', `/nowhere::${folder}`)).toBe(path);
  expect(await findRuntime(path, '')).toBe(path);
});

test.each([
  ['my-runc', 'apt-get install runc'],
  ['plain', 'apt-get install runc'],
  ['/nowhere/crun', 'apt-get install runc'],
])('findRuntime does not find %j and says what to install', async (name, hint) => {
  await expect(findRuntime(name, name === 'plain' ? folder : '/nowhere')).rejects.toMatchObject({
    code: 'not-found',
    message: expect.stringContaining(`"${name}"`) as unknown,
    hint: expect.stringContaining(hint) as unknown,
  });
});

/** Stands before every test file, see vitest.config.ts. */

import { afterAll, beforeAll, expect } from 'vitest';
import { type WatchedRuntimes, watchRuntimes } from './watched-runtimes.js';

const path = process.env.PATH ?? '';
let runtimes: WatchedRuntimes;

beforeAll(async () => {
  runtimes = await watchRuntimes();
  process.env.PATH = `${runtimes.folder}:${path}`;
});

afterAll(async () => {
  process.env.PATH = path;
  const failures = await runtimes.failures();
  await runtimes[Symbol.asyncDispose]();
  expect(failures, 'bundles that do not follow the runtime-spec').toEqual([]);
});

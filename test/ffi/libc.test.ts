import { closeSync, openSync } from 'node:fs';
import { expect, it } from 'vitest';
import { willNeed } from '#src/ffi/libc.js';

it('willNeed says what is wrong with a descriptor', () => {
  const file = openSync(import.meta.filename, 'r');
  expect(() => willNeed(file, 0, 2 ** 40)).not.toThrow();
  closeSync(file);
  expect(() => willNeed(-1, 0, 4096)).toThrow('EBADF: posix_fadvise -1');
});

import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { systemCode } from '#src/common/errors.js';
import { mount } from '#src/ffi/libc.js';
import { clearStaleMount } from '#src/layers/mount-table.js';
import { run } from '../support/sandbox.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const module = fileURLToPath(new URL('../../dist/layers/mount-table.js', import.meta.url));

describe('clearStaleMount', () => {
  it('is done by several processes at once', async () => {
    await using folder = await temporaryFolder();
    const script = `
      const { clearStaleMount } = await import('${module}');
      for (let i = 0; i < 300; i++) await clearStaleMount('${folder.path}');
    `;
    const flags = ['--input-type=module', '-e', script];
    const clearing = [1, 2, 3].map(() => run(process.execPath, flags));
    for (let i = 0; i < 200; i++) {
      mountUnlessGoing(folder.path);
      await delay(2);
    }
    const outcomes = await Promise.all(clearing);
    await clearStaleMount(folder.path);
    for (const outcome of outcomes) {
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    }
  });
});

/** The kernel says ENOENT where what is mounted there goes at this very moment. */
function mountUnlessGoing(target: string): void {
  try {
    mount({ source: 'none', target, type: 'tmpfs' });
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

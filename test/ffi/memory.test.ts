import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';

/** Lets 24 MiB of buffers pass, idles, and prints how many MiB of them lie about then. */
const idle = `
  import('#src/ffi/memory.js').then(async ({ giveBackMemory }) => {
    const memory = giveBackMemory();
    for (let n = 0; n < 384; n += 1) Buffer.alloc(1 << 16, n);
    await new Promise((resolve) => setTimeout(resolve, 5000));
    memory[Symbol.dispose]();
    console.log(process.memoryUsage().arrayBuffers / 2 ** 20);
  });`;

describe('giveBackMemory', () => {
  it('collects the buffers that an idle process would let lie', () => {
    const printed = execFileSync(process.execPath, ['--expose-gc', '-e', idle], {
      encoding: 'utf8',
    });
    expect(Number(printed)).toBeLessThan(8);
  });
});

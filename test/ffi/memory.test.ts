import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';

/** V8 itself looks at a process that has been idle for eight seconds; that is not to be taken for our look. */
const flags = ['--expose-gc', '--no-memory-reducer'];

/**
 * Drops 24 MiB of buffers that two collections have left, idles until hardly any of them lie about, or for 20 s, and
 * prints how many MiB do then.
 */
const idle = `
  import('#src/ffi/memory.js').then(async ({ giveBackMemory }) => {
    const memory = giveBackMemory();
    let buffers = Array.from({ length: 384 }, (_, n) => Buffer.alloc(1 << 16, n));
    for (const _ of [1, 2]) gc();
    buffers = undefined;
    const left = () => process.memoryUsage().arrayBuffers / 2 ** 20;
    for (let looks = 0; looks < 40 && left() >= 8; looks += 1)
      await new Promise((resolve) => setTimeout(resolve, 500));
    memory[Symbol.dispose]();
    console.log(left());
  });`;

describe('giveBackMemory', () => {
  it('collects the buffers that an idle process would let lie', () => {
    const printed = execFileSync(process.execPath, [...flags, '-e', idle], { encoding: 'utf8' });
    expect(Number(printed)).toBeLessThan(8);
  });
});

import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'siphon-outputs-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs `code` with koffi loaded, standard output a file and standard error a file. @returns what is in them */
function run(code: string): { output: string; errors: string } {
  const paths = ['output', 'errors'].map((name) => join(folder, name));
  const files = paths.map((path) => openSync(path, 'w'));
  const module = new URL('../../dist/ffi/koffi.js', import.meta.url).href;
  const script = `await import(${JSON.stringify(module)});
    const { readlinkSync, writeFileSync } = await import('node:fs');
    ${code}`;
  spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', ...files],
  });
  for (const file of files) closeSync(file);
  const [output = '', errors = ''] = paths.map((path) => readFileSync(path, 'utf8'));
  return { output, errors };
}

it('koffi meets no file at the end of a process, which it would wait for', () => {
  const seen = join(folder, 'seen');
  const look = `['1', '2'].map((fd) => readlinkSync('/proc/self/fd/' + fd)).join()`;
  const { output } = run(`console.log('said');
    process.once('exit', () => writeFileSync(${JSON.stringify(seen)}, ${look}));`);
  expect(output).toBe('said\n');
  expect(readFileSync(seen, 'utf8')).toBe('/dev/null,/dev/null');
});

it('an error that nobody caught is told nevertheless', () => {
  expect(run(`setImmediate(() => { throw new Error('odd'); });`).errors).toContain('Error: odd');
});

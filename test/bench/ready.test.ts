import { once } from 'node:events';
import { expect, test } from 'vitest';
import { startUntilReady } from '../../bench/meters/ready.js';

const patience = 20_000; // ms

test('takes the time that the program takes to say it', async () => {
  const { ms, line, child } = await startUntilReady(
    ['sh', '-c', 'echo getting ready; sleep 0.3; echo I am ready; exec sleep 60'],
    /^I am ready$/,
    patience,
  );
  expect(line).toBe('I am ready');
  expect(ms).toBeGreaterThanOrEqual(300);
  expect(child.exitCode).toBeNull();
  child.kill('SIGKILL');
  await once(child, 'close');
});

test('is not later than the line: the program tells the time itself', async () => {
  // CLOCK_MONOTONIC is the same in every process.
  const before = process.hrtime.bigint();
  const script = 'setTimeout(() => console.log(`at ${process.hrtime.bigint()}`), 100)';
  const { ms, line } = await startUntilReady([process.execPath, '-e', script], /^at /, patience);
  const said = Number(BigInt(line.slice(3)) - before) / 1e6;
  expect(ms).toBeGreaterThanOrEqual(said - 1);
  expect(ms).toBeLessThan(said + 5000);
});

test('finds a line on standard error, in pieces and without an end', async () => {
  const script = 'printf "half a " >&2; sleep 0.1; printf line >&2';
  const { line } = await startUntilReady(['sh', '-c', script], /^half a line$/, patience);
  expect(line).toBe('half a line');
});

test('a program that ends before is an error with what it printed', async () => {
  const command = ['sh', '-c', 'echo out of luck; exit 3'];
  await expect(startUntilReady(command, /ready/, patience)).rejects.toThrow(
    /ended with 3; it printed: out of luck/,
  );
});

test('a program that never says it is killed', async () => {
  await expect(startUntilReady(['sleep', '60'], /ready/, 100)).rejects.toThrow('after 100 ms');
});

test('a program that is not there is an error', async () => {
  await expect(startUntilReady(['/nowhere/program'], /ready/, patience)).rejects.toThrow('ENOENT');
});

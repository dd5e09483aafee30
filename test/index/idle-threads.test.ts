import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import { keepIdle, takeIdle } from '#src/index/idle-threads.js';

/** A module that a thread runs until it gets a message. */
const moduleOf = (name: string): URL =>
  new URL(
    `data:text/javascript,import{parentPort}from'worker_threads';parentPort.once('message',()=>{});//${name}`,
  );

function start(script: URL): Worker {
  const worker = new Worker(script);
  onTestFinished(async () => {
    // Off the list, whatever became of the test.
    while (takeIdle(script) !== undefined);
    await worker.terminate();
  });
  return worker;
}

test('a thread that rests is given to the next who needs one of its kind, once', () => {
  const [script, other] = [moduleOf('a'), moduleOf('b')];
  const worker = start(script);
  expect(takeIdle(script)).toBeUndefined();
  expect(keepIdle(script, worker, () => undefined)).toBe(true);
  expect(takeIdle(other)).toBeUndefined();
  expect(takeIdle(script)).toBe(worker);
  expect(takeIdle(script)).toBeUndefined();
});

test('no more rest than there are cores', () => {
  const script = moduleOf('c');
  const kept = Array.from({ length: availableParallelism() + 1 }, () =>
    keepIdle(script, start(script), () => undefined),
  );
  expect(kept.filter((one) => !one)).toHaveLength(1);
});

test('one that ends while it rests is forgotten', async () => {
  const script = moduleOf('d');
  const worker = start(script);
  const exit = once(worker, 'exit');
  keepIdle(script, worker, () => undefined);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
  worker.postMessage('end');
  await exit;
  expect(takeIdle(script)).toBeUndefined();
});

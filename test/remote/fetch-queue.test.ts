import { expect, test } from 'vitest';
import { type FetchClass, Urgency } from '#src/common/urgency.js';
import { FetchQueue, type QueueLimits } from '#src/remote/fetch-queue.js';

const never = new AbortController().signal;

/** A queue whose requests end when the test says so. */
function scripted(limits: QueueLimits) {
  const queue = new FetchQueue(limits);
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const ask = (name: string, of: FetchClass, flow = 'app', signal = never) => {
    const urgency = new Urgency(of);
    const done = queue.run({ urgency, flow, bytes: 1, signal }, () => {
      started.push(name);
      return new Promise<void>((resolve) => ends.set(name, resolve));
    });
    return { urgency, done };
  };
  const end = async (name: string): Promise<void> => {
    ends.get(name)?.();
    await settled();
  };
  return { queue, started, ask, end };
}

/** After all that follows without waiting. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('a read that waits overtakes what came before it', async () => {
  const { started, ask, end } = scripted({ requests: 1 });
  ask('first', 'prefetch');
  ask('ahead', 'prefetch');
  ask('read', 'waiting');
  await settled();
  expect(started).toEqual(['first']);
  await end('first');
  expect(started).toEqual(['first', 'read']);
  await end('read');
  expect(started).toEqual(['first', 'read', 'ahead']);
});

test('what is fetched ahead leaves half of the requests to reads', async () => {
  const { started, ask } = scripted({ requests: 4 });
  for (const name of ['a', 'b', 'c']) ask(name, 'prefetch');
  await settled();
  expect(started).toEqual(['a', 'b']);
  for (const name of ['r', 's', 't']) ask(name, 'waiting');
  await settled();
  expect(started).toEqual(['a', 'b', 'r', 's']);
});

test('what becomes urgent while it is queued goes first', async () => {
  const { started, ask, end } = scripted({ requests: 1 });
  ask('first', 'waiting');
  ask('second', 'prefetch');
  const { urgency } = ask('third', 'prefetch');
  urgency.raise('waiting');
  urgency.raise('fill');
  await end('first');
  await settled();
  await end('first');
  expect(started).toEqual(['first', 'third']);
});

test('images take turns', async () => {
  const { started, ask, end } = scripted({ requests: 1 });
  for (const name of ['a1', 'a2', 'a3']) ask(name, 'waiting', 'a');
  ask('b1', 'waiting', 'b');
  await settled();
  for (const name of ['a1', 'b1', 'a2']) await end(name);
  expect(started).toEqual(['a1', 'b1', 'a2', 'a3']);
});

test('filling rests while reads wait, and for a moment after', async () => {
  const { queue, started, ask, end } = scripted({ requests: 4 });
  ask('read', 'waiting');
  const { done } = ask('fill', 'fill');
  await settled();
  await end('read');
  expect(started).toEqual(['read']);
  expect(queue.queued('fill')).toBe(1);
  await expect.poll(() => started, { timeout: 10_000 }).toEqual(['read', 'fill']);
  await end('fill');
  await done;
  expect(queue.done.fill).toEqual({ requests: 1, bytes: 1 });
});

test('one that is cancelled never starts, and frees its place', async () => {
  const { started, ask, end } = scripted({ requests: 1 });
  const abort = new AbortController();
  ask('first', 'waiting');
  const { done } = ask('second', 'waiting', 'app', abort.signal);
  ask('third', 'waiting');
  await settled();
  abort.abort();
  await expect(done).rejects.toMatchObject({ code: 'cancelled' });
  await end('first');
  expect(started).toEqual(['first', 'third']);
});

test('a rate delays what would exceed it', async () => {
  const queue = new FetchQueue({ requests: 8, bytesPerSecond: 1000 });
  const start = performance.now();
  const ask = () =>
    queue.run(
      { urgency: new Urgency('waiting'), flow: 'app', bytes: 100, signal: never },
      async () => undefined,
    );
  await Promise.all([ask(), ask(), ask()]);
  // The third may start when the bytes of two are paid for.
  expect(performance.now() - start).toBeGreaterThanOrEqual(199);
});

test('what a request costs is learnt from requests of several sizes', () => {
  const { link } = new FetchQueue();
  expect(link.bytesPerRequest).toBe(128 << 10);
  // 100 ms, and a millisecond for each 10 kB.
  for (const bytes of [100_000, 1_000_000, 500_000]) link.learn(bytes, 100 + bytes / 10_000);
  expect(link.bytesPerRequest).toBeCloseTo(1_000_000, 0);
});

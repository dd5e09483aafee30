import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import { type FetchClass, Urgency } from '#src/common/urgency.js';
import { FetchQueue, type QueueLimits } from '#src/remote/fetch-queue.js';
import { memorySource } from '../index/support/layers.js';

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
  await expect.poll(() => started).toEqual(['read', 'fill']);
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

test('what a request costs is learnt from when answers begin, and how fast they come', () => {
  const { link } = new FetchQueue();
  expect(link.bytesPerRequest).toBe(128 << 10);
  // 100 ms, and a millisecond for each 10 kB.
  let sentAt = 0;
  const learn = (bytes: number, late = 0): void => {
    const beganAt = sentAt + 100 + late;
    link.learn({ bytes, sentAt, beganAt, endedAt: beganAt + bytes / 10_000 });
  };
  for (const bytes of [100_000, 1_000_000, 500_000]) {
    learn(bytes);
    sentAt += 1000;
  }
  expect(link.bytesPerRequest).toBeCloseTo(1_000_000, 0);
  // Two at a time have the link in turns, so the second begins late.
  learn(1_000_000);
  learn(1_000_000, 100);
  expect(link.bytesPerRequest).toBeCloseTo(1_000_000, 0);
  // A busy moment does not make a request dearer.
  sentAt += 1000;
  learn(100_000, 700);
  expect(link.bytesPerRequest).toBeLessThan(1_000_000);
});

test('with a rate, a read overtakes a fill that is not paid for, and does not wait for it', async () => {
  const queue = new FetchQueue({ requests: 8, bytesPerSecond: 1000 });
  const order: string[] = [];
  const ask = (name: string, of: FetchClass, bytes: number, signal = never) =>
    queue.run({ urgency: new Urgency(of), flow: 'app', bytes, signal }, () => {
      order.push(name);
      return Promise.resolve();
    });
  // Paid for in an hour.
  await ask('fill', 'fill', 3_600_000);
  const abort = new AbortController();
  const later = [
    ask('more', 'fill', 1, abort.signal).catch(() => undefined),
    ask('ahead', 'prefetch', 100),
    ask('read', 'waiting', 100),
  ];
  await Promise.all(later.slice(1));
  expect(order).toEqual(['fill', 'ahead', 'read']);
  abort.abort();
  await later[0];
});

/** A source whose streams give a piece each time the test says so. */
function streamedSource(pieces: number) {
  const piece = Buffer.alloc(100);
  const memory = memorySource(Buffer.alloc(pieces * piece.length));
  let given = 0;
  const more: (() => void)[] = [];
  const source: BlobSource = {
    ...memory,
    local: false,
    async *stream() {
      for (let n = 0; n < pieces; n += 1) {
        await new Promise<void>((resolve) => more.push(resolve));
        given += 1;
        yield piece;
      }
    },
  };
  const give = async (): Promise<void> => {
    more.shift()?.();
    await settled();
  };
  return { source, give, given: () => given };
}

async function drain(stream: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const piece of stream) bytes += piece.length;
  return bytes;
}

test('a stream takes a place, and rests while reads need it: none of them waits', async () => {
  const { queue, started, ask, end } = scripted({ requests: 1 });
  const { source, give, given } = streamedSource(3);
  const { source: second } = streamedSource(1);
  const draining = drain(queue.ordering(source, 'a').stream(never));
  const behind = queue.ordering(second, 'b').stream(never);
  const other = drain(behind);
  await settled();
  await give();
  const ahead = ask('ahead', 'prefetch');
  ask('read', 'waiting');
  await settled();
  expect(started).toEqual(['read']);
  await give();
  expect(given()).toBe(2);
  // It rests now, so that its next piece is not taken.
  await give();
  expect(given()).toBe(2);
  await end('read');
  await give();
  expect(await draining).toBe(300);
  await settled();
  expect(started).toEqual(['read']);
  expect(queue.queued('prefetch')).toBe(1);
  expect(queue.done.waiting).toEqual({ requests: 2, bytes: 301 });
  void [other, ahead];
});

test('streams take at most half of the places', async () => {
  const { queue } = scripted({ requests: 4 });
  const opened: number[] = [];
  const stop = new AbortController();
  const drains = [0, 1, 2].map((n) => {
    const { source } = streamedSource(1);
    const opening: BlobSource = {
      ...source,
      async *stream(signal) {
        opened.push(n);
        await once(signal, 'abort');
        yield Buffer.alloc(1);
      },
    };
    return drain(queue.ordering(opening, 'app').stream(stop.signal)).catch(() => undefined);
  });
  await settled();
  expect(opened).toEqual([0, 1]);
  stop.abort();
  await Promise.all(drains);
});

test('a stream is paid for, and reads do not wait for that', async () => {
  const queue = new FetchQueue({ requests: 8, bytesPerSecond: 1000 });
  const { source, give, given } = streamedSource(3);
  const draining = drain(queue.ordering(source, 'app').stream(never));
  const start = performance.now();
  await settled();
  await give();
  await queue.run(
    { urgency: new Urgency('waiting'), flow: 'app', bytes: 1, signal: never },
    async () => undefined,
  );
  while (given() < 3) {
    await give();
    await delay(1);
  }
  expect(await draining).toBe(300);
  // The third piece comes when the first two are paid for.
  expect(performance.now() - start).toBeGreaterThanOrEqual(199);
});

test.each([...Array(12).keys()])(
  'goes on when it is paid for while the queue looks around, after %i bytes',
  async (bytes) => {
    // Each look at the clock takes a millisecond, so that a time can pass between any two of them.
    let now = 1000;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 1));
    onTestFinished(() => clock.mockRestore());
    const queue = new FetchQueue({ requests: 8, bytesPerSecond: 1000 });
    const ask = (count: number): Promise<void> =>
      queue.run(
        { urgency: new Urgency('waiting'), flow: 'app', bytes: count, signal: never },
        settled,
      );
    const asked = [ask(bytes), ask(1)];
    await Promise.all(asked);
  },
);

test('fills of two images take turns, one request at a time', async () => {
  const { started, ask, end } = scripted({ requests: 8 });
  for (const name of ['a1', 'a2', 'a3']) ask(name, 'fill', 'a');
  for (const name of ['b1', 'b2']) ask(name, 'fill', 'b');
  await settled();
  expect(started).toEqual(['a1']);
  for (const name of ['a1', 'b1', 'a2', 'b2']) await end(name);
  expect(started).toEqual(['a1', 'b1', 'a2', 'b2', 'a3']);
});

import { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import { LIFE_BYTES, ThreadLife } from '#src/index/thread-life.js';
import { RING_BYTES, ThreadRing } from '#src/index/thread-ring.js';

const dist = (name: string): string => new URL(`../../dist/index/${name}`, import.meta.url).href;

/** A thread at the other side of a ring, that does `work` after it has said who it is. */
function ringWith(work: string): { ring: ThreadRing; life: ThreadLife } {
  const [memory, lifeMemory] = [
    new SharedArrayBuffer(RING_BYTES),
    new SharedArrayBuffer(LIFE_BYTES),
  ];
  const script = `
    import { workerData } from 'node:worker_threads';
    import { ThreadRing } from ${JSON.stringify(dist('thread-ring.js'))};
    import { announceThread } from ${JSON.stringify(dist('thread-life.js'))};
    announceThread(workerData.life);
    const ring = new ThreadRing(workerData.memory);
    ${work}`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`), {
    workerData: { memory, life: lifeMemory },
  });
  onTestFinished(async () => void (await worker.terminate()));
  return { ring: new ThreadRing(memory), life: new ThreadLife(lifeMemory) };
}

describe('one who waits for a record', () => {
  test('waits as long as the other thread lives', () => {
    const pause = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2500);';
    const { ring, life } = ringWith(`${pause} ring.write([7, 8]);`);
    let looks = 0;
    const taken: unknown[] = [];
    ring.takeNext(
      (record) => taken.push(record),
      () => {
        looks += 1;
        life.check();
      },
    );
    expect(taken).toEqual([[7, 8, 0, 0, 0, 0, 0]]);
    expect(looks).toBeGreaterThan(1);
  });

  test('gets what a thread wrote before it ended, and then notices its end', () => {
    const { ring, life } = ringWith('ring.write([7]); process.exit();');
    const taken: unknown[] = [];
    const take = (): void =>
      ring.takeNext(
        (record) => taken.push(record[0]),
        () => life.check(),
      );
    take();
    expect(taken).toEqual([7]);
    expect(take).toThrow('A thread ended before its work was done');
  });
});

test('a thread that never says who it is is not waited for without end', () => {
  const life = new ThreadLife(new SharedArrayBuffer(LIFE_BYTES));
  expect(() => {
    for (let look = 0; look < 1000; look++) life.check();
  }).toThrow('A thread did not start');
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import type { FetchSpans, MissedRead } from '#src/fuse/missed-read.js';
import { MissedReads } from '#src/fuse/missed-reads.js';

const { EIO, EINTR, ESTALE } = constants.errno;

let folder: string;
let presence: SharedArrayBuffer;
let replies: Map<number, { errno: number; bytes: string }>;
let failures: unknown[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'siphon-missed-'));
  writeFileSync(join(folder, 'cache'), '0123456789');
  presence = new SharedArrayBuffer(4);
  replies = new Map();
  failures = [];
});

afterEach(() => rmSync(folder, { recursive: true }));

function reads(fetch: FetchSpans, timeout = 10_000): MissedReads {
  return new MissedReads({
    fetch,
    timeout,
    cache: (layer) => (layer === 1 ? { cachePath: join(folder, 'cache'), presence } : undefined),
    reply: (message) => {
      const errno = Math.abs(message.readInt32LE(4));
      replies.set(message.readUInt32LE(8), { errno, bytes: message.toString('latin1', 16) });
      return Promise.resolve();
    },
    failed: (_, error) => failures.push(error),
    log: silentLogger,
  });
}

function read(unique: number, change: Partial<MissedRead> = {}): MissedRead {
  return {
    uniqueLow: unique,
    uniqueHigh: 0,
    pid: process.pid,
    layer: 1,
    ino: 2,
    segments: [
      { kind: 'data', tarOffset: 2, length: 3 },
      { kind: 'hole', length: 2 },
      { kind: 'data', tarOffset: 8, length: 2 },
    ],
    spans: [0, 1],
    firstSpan: 0,
    lastSpan: 1,
    ...change,
  };
}

function markPresent(): Promise<void> {
  new Uint8Array(presence).fill(1);
  return Promise.resolve();
}

const never: FetchSpans = () => new Promise(() => {});

async function settled(unique: number): Promise<{ errno: number; bytes: string }> {
  for (;;) {
    const reply = replies.get(unique);
    if (reply !== undefined) return reply;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

it('answers with data and holes once the spans are there', async () => {
  const subject = reads(markPresent);
  subject.serve(read(4));
  expect(await settled(4)).toEqual({ errno: 0, bytes: '234\0\x0089' });
  expect(subject).toMatchObject({ count: 1, failures: 0, bytesRead: 7 });
});

it('fetches also what was there, and went while the rest was waited for', async () => {
  const present = new Uint8Array(presence);
  present[0] = 1;
  const asked: number[][] = [];
  const subject = reads(({ firstSpan, lastSpan }) => {
    asked.push([firstSpan, lastSpan]);
    present.fill(1, firstSpan, lastSpan + 1);
    if (asked.length === 1) present[0] = 0;
    return Promise.resolve();
  });
  subject.serve(read(4, { firstSpan: 1 }));
  expect((await settled(4)).errno).toBe(0);
  expect(asked).toEqual([
    [1, 1],
    [0, 0],
  ]);
});

it('leaves nothing of earlier answers in a hole', async () => {
  const length = 128 << 10;
  writeFileSync(join(folder, 'cache'), 'x'.repeat(length));
  const subject = reads(markPresent);
  subject.serve(read(2, { segments: [{ kind: 'data', tarOffset: 0, length }] }));
  expect((await settled(2)).bytes).toBe('x'.repeat(length));
  subject.serve(read(4, { segments: [{ kind: 'hole', length }] }));
  expect((await settled(4)).bytes).toBe('\0'.repeat(length));
});

it('fetches once for reads of the same spans, and aborts when the last reader dies', async () => {
  let calls = 0;
  let aborted = false;
  const subject = reads((_, signal) => {
    calls += 1;
    signal.addEventListener('abort', () => (aborted = true));
    return new Promise(() => {});
  });
  const dead = 2 ** 22 + 1; // beyond pid_max
  subject.serve(read(2, { pid: dead }));
  subject.serve(read(4, { pid: dead }));
  subject.interrupt(2);
  expect((await settled(2)).errno).toBe(EINTR);
  expect(aborted).toBe(false);
  subject.interrupt(4);
  expect((await settled(4)).errno).toBe(EINTR);
  expect([calls, aborted]).toEqual([1, true]);
  expect(failures).toEqual([]);
});

it('lets a read go on whose reader handles the signal', async () => {
  const subject = reads(never, 100);
  subject.serve(read(2));
  subject.interrupt(2);
  expect((await settled(2)).errno).toBe(EIO);
});

it('heeds an interrupt that came before its read', async () => {
  const subject = reads(never);
  subject.interrupt(2);
  subject.serve(read(2, { pid: 0 }));
  expect((await settled(2)).errno).toBe(EINTR);
});

it('answers EIO when the time is up, and at once when the kernel asks again', async () => {
  let fetches = 0;
  const subject = reads((...asked) => {
    fetches += 1;
    return never(...asked);
  }, 50);
  subject.serve(read(2));
  expect((await settled(2)).errno).toBe(EIO);
  subject.serve(read(4, { lastSpan: 0 }));
  expect((await settled(4)).errno).toBe(EIO);
  expect(fetches).toBe(1);
  expect(failures).toHaveLength(1);
  expect(failures[0]).toMatchObject({ code: 'timeout' });
});

it('tries again at once after a failure that was no timeout', async () => {
  let calls = 0;
  const subject = reads(() => {
    calls += 1;
    return calls === 1 ? Promise.reject(new Error('broken')) : markPresent();
  });
  subject.serve(read(2));
  expect((await settled(2)).errno).toBe(EIO);
  subject.serve(read(4));
  expect((await settled(4)).errno).toBe(0);
});

it('does not hand out bytes of spans that are absent after the fetch', async () => {
  const subject = reads(() => Promise.resolve());
  subject.serve(read(2));
  expect((await settled(2)).errno).toBe(EIO);
  expect(String(failures[0])).toContain('absent after being fetched');
});

it('answers ESTALE for a layer that is gone', async () => {
  reads(markPresent).serve(read(2, { layer: 9 }));
  expect((await settled(2)).errno).toBe(ESTALE);
});

it('fails what waits and what comes when it is closed', async () => {
  const subject = reads(never);
  subject.serve(read(2));
  await subject.close();
  expect(replies.get(2)?.errno).toBe(EIO);
  subject.serve(read(4));
  expect((await settled(4)).errno).toBe(EIO);
  expect(failures).toEqual([]);
});

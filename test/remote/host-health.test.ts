import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { isResting, noteFailure, noteSuccess } from '#src/remote/host-health.js';
import { RemoteError } from '#src/remote/remote-error.js';

const mute = new RemoteError('timeout', 'no answer');
const absent = new RemoteError('unavailable', 'refused', { unreachable: true });
const broken = new RemoteError('unavailable', 'answers 503', { status: 503 });
const missing = new RemoteError('not-found', 'answers 404', { status: 404 });
const MINUTE = 60_000;

test.each([mute, absent])('a host that keeps others waiting rests: %s', (error) => {
  const host = { name: `rests-${error.code}` };
  expect(isResting(host)).toBe(false);
  noteFailure(host, error);
  expect(isResting(host)).toBe(true);
  noteSuccess(host);
  expect(isResting(host)).toBe(false);
});

test.each([broken, missing, new Error('other')])('one that answers does not: %s', (error) => {
  const host = { name: 'answers' };
  noteFailure(host, error);
  expect(isResting(host)).toBe(false);
});

test('it rests longer each time, and not without end', () => {
  const host = { name: 'again' };
  const now = performance.now();
  // Eight requests at once are one failure.
  for (let request = 0; request < 8; request += 1) noteFailure(host, mute, now);
  expect(isResting({ ...host, probe: () => new Promise<void>(() => undefined) }, now)).toBe(true);
  let at = now + MINUTE / 2;
  for (const rest of [1, 2, 4, 8, 10, 10]) {
    noteFailure(host, mute, at);
    // Nothing is known of it at the end, since it cannot be asked.
    expect(isResting(host, at + rest * MINUTE - 1)).toBe(true);
    expect(isResting(host, at + rest * MINUTE)).toBe(false);
    at += rest * MINUTE;
  }
});

test('it is asked for a sign of life beside the requests, once at a time', async () => {
  let asked = 0;
  let end: ((error?: Error) => void) | undefined;
  const probe = (): Promise<void> =>
    new Promise((resolve, reject) => {
      asked += 1;
      end = (error) => (error === undefined ? resolve() : reject(error));
    });
  const host = { name: 'probed', probe };
  const now = performance.now();
  noteFailure(host, mute, now - MINUTE);
  expect([isResting(host), isResting(host), isResting(host)]).toEqual([true, true, true]);
  expect(asked).toBe(1);
  end?.(mute);
  await delay(1);
  expect(isResting(host, now + MINUTE / 2)).toBe(true);
  expect(asked).toBe(1);
  expect(isResting(host, now + 3 * MINUTE)).toBe(true);
  expect(asked).toBe(2);
  end?.();
  await delay(1);
  expect(isResting(host)).toBe(false);
  // Signs of life are not all: what then fails again rests longer than the last time.
  noteFailure(host, mute, now);
  expect(isResting(host, now + 3 * MINUTE)).toBe(true);
});

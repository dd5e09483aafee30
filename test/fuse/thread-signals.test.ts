import { spawn } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { hasFatalSignal, isDying } from '#src/fuse/thread-signals.js';

interface Masks {
  pending?: number[];
  shared?: number[];
  blocked?: number[];
  ignored?: number[];
  caught?: number[];
}

function status({ pending, shared, blocked, ignored, caught }: Masks): string {
  const hex = (signals: number[] = []): string =>
    signals
      .reduce((mask, signal) => mask | (1n << BigInt(signal - 1)), 0n)
      .toString(16)
      .padStart(16, '0');
  return [
    'Name:\tcat',
    `SigPnd:\t${hex(pending)}`,
    `ShdPnd:\t${hex(shared)}`,
    `SigBlk:\t${hex(blocked)}`,
    `SigIgn:\t${hex(ignored)}`,
    `SigCgt:\t${hex(caught)}`,
  ].join('\n');
}

describe('hasFatalSignal', () => {
  it.each<[string, boolean, Masks]>([
    ['no signal', false, {}],
    ['SIGKILL', true, { pending: [9] }],
    ['SIGTERM that nothing catches', true, { shared: [15] }],
    ['SIGTERM that a handler catches', false, { shared: [15], caught: [15] }],
    ['SIGINT that is blocked', false, { shared: [2], blocked: [2] }],
    ['SIGHUP that is ignored', false, { shared: [1], ignored: [1] }],
    ['SIGCHLD, which is ignored by default', false, { pending: [17] }],
    ['SIGURG of a Go runtime', false, { pending: [23], caught: [23] }],
    ['SIGKILL beside a handled one', true, { pending: [9, 23], caught: [23] }],
    ['a real-time signal that nothing catches', true, { pending: [34] }],
  ])('%s → %s', (_, expected, masks) => {
    expect(hasFatalSignal(status(masks))).toBe(expected);
  });
});

describe('isDying', () => {
  it('is false for a thread that lives, true for one that is gone or unknown', async () => {
    const child = spawn('sleep', ['60']);
    const { pid = 0 } = child;
    expect(isDying(pid)).toBe(false);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    expect(isDying(pid)).toBe(true);
    expect(isDying(0)).toBe(true);
  });
});

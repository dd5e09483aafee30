import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Milliseconds until a program that was told to end is killed. */
const PATIENCE = 10_000;

/** Tells a program to end, waits until it has, and kills it where that takes longer than `patience` ms. */
export async function endProgram(
  child: ChildProcess,
  { signal = 'SIGTERM', patience = PATIENCE }: { signal?: NodeJS.Signals; patience?: number } = {},
): Promise<void> {
  const isOver = child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
  if (isOver) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), patience);
  await exited;
  clearTimeout(timer);
}

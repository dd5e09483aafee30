/** `bin/siphon` as a child process: what it prints, and when it printed first. */

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface SiphonOptions {
  /** siphon's state folder. */
  root: string;
  /** Ends the process; the promise is settled only once it is gone. */
  signal: AbortSignal;
  /** Called with what it writes to standard output. */
  onOutput?: (text: string) => void;
}

export interface SiphonResult {
  /** Milliseconds from the start of the process to its first byte of output, and to its end. */
  firstOutput: number | undefined;
  elapsed: number;
}

/** The command as the repository has it; this file runs from `dist/demo`. */
const SIPHON = fileURLToPath(new URL('../../bin/siphon', import.meta.url));
const PATIENCE_MS = 15_000;

/** @throws Error with what the command said, where its exit code is not 0; the signal's reason */
export async function siphon(
  args: readonly string[],
  options: SiphonOptions,
): Promise<SiphonResult> {
  options.signal.throwIfAborted();
  const started = performance.now();
  const child = spawn(process.execPath, [SIPHON, '--root', options.root, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let firstOutput: number | undefined;
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    firstOutput ??= performance.now() - started;
    options.onOutput?.(text);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const code = await endOf(child, options.signal);
  options.signal.throwIfAborted();
  if (code !== 0) throw new Error(`siphon ${args[0]} ended with exit code ${code}:\n${complaint}`);
  return { firstOutput, elapsed: performance.now() - started };
}

/** Asks the child to end when `signal` is aborted, and makes it after a while. */
function endOf(child: ChildProcess, signal: AbortSignal): Promise<number> {
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    child.kill('SIGTERM');
    timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  };
  signal.addEventListener('abort', stop, { once: true });
  return new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 128));
  }).finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  });
}

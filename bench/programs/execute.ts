/** Programs that run to their end. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MAX_OUTPUT = 64 << 20;
/** Milliseconds of a command that clears up after others, which may hang. */
export const CLOSING_TIMEOUT = 20_000;

export interface ExecuteOptions {
  signal?: AbortSignal;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Milliseconds, after which it is told to end. */
  timeout?: number;
}

/** @returns its standard output @throws Error with what it said on standard error, where it fails */
export async function execute(
  program: string,
  args: readonly string[],
  options: ExecuteOptions = {},
): Promise<string> {
  try {
    const { stdout } = await run(program, args, { maxBuffer: MAX_OUTPUT, ...options });
    return stdout;
  } catch (cause) {
    options.signal?.throwIfAborted();
    const { stderr = '', message } = cause as Error & { stderr?: string };
    const why = stderr.trim().split('\n').slice(-12).join('\n') || message;
    throw new Error(`Cannot run "${[program, ...args].join(' ')}": ${why}`, { cause });
  }
}

/** As {@link execute}. @param command program and arguments */
export function executeCommand(
  command: readonly string[],
  options: ExecuteOptions = {},
): Promise<string> {
  const [program = '', ...words] = command;
  return execute(program, words, options);
}

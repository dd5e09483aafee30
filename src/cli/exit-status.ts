/** How a failure ends the command: what is printed, and which exit code it gives. */

import { type ErrorCode, SiphonError, errorCode } from '../common/errors.js';
import { withoutSecrets } from '../common/secrets.js';
import { CommandError } from '../exec/command-error.js';

export const exitFailed = 1;
export const exitUsage = 2;
/** Of commands that else give a program's own exit code: it was not the program that failed. */
const exitNotRun = 125;
const running: ReadonlySet<string | undefined> = new Set(['run', 'exec']);

/**
 * The exit code for anything thrown: 2 for wrong usage, a shell's for a program that cannot be run, else 1.
 * @param command that threw it; 125 takes the place of 1 where it runs a program
 */
export function exitCodeOf(error: unknown, command?: string): number {
  if (error instanceof CommandError) return error.exitCode;
  const code: ErrorCode | undefined = errorCode(error);
  if (code === 'usage') return exitUsage;
  return running.has(command) ? exitNotRun : exitFailed;
}

/** What a person sees: one sentence and its hint; the stack only of what is a defect of ours. */
export function describeFailure(error: unknown): string {
  if (error instanceof SiphonError) {
    return `siphon: ${error.message}\n${error.hint === undefined ? '' : `${error.hint}\n`}`;
  }
  if (isSystemError(error)) return `siphon: Cannot go on: ${withoutSecrets(error.message)}\n`;
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `siphon: internal error: ${withoutSecrets(detail)}\n`;
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

import { readFileSync } from 'node:fs';
import { SiphonError } from '../common/errors.js';
import { CommandError } from './command-error.js';

const NO_COMMAND = /executable file .*not found|exec: .*no such file or directory/;
const NOT_EXECUTABLE = /exec: .*(?:permission denied|is a directory)|open executable: Permission/;

/** What a runtime puts before a reason that says no more of it. */
const ABOUT_ITSELF =
  /^(?:(?:runc (?:run|create)|exec) failed: |unable to start container process: |error during container init: )+/;

/**
 * Why a runtime did not start a process, from its log.
 * @param purpose what it was to do: `Cannot <purpose>: …`
 * @param log JSON lines with `level` and `msg`, as runc and crun write them
 */
export function startFailure(purpose: string, log: string): SiphonError {
  const reason = lastError(log) ?? 'the runtime gave no reason';
  const message = `Cannot ${purpose}: ${reason}`;
  if (NO_COMMAND.test(reason)) return new CommandError(127, message);
  if (NOT_EXECUTABLE.test(reason)) return new CommandError(126, message);
  if (reason.includes('hybrid mode')) return new SiphonError('unsupported', message, hybridHint);
  return new SiphonError('failed-precondition', message);
}

/**
 * Whether `text` is what a runtime says of its failure on standard error, which it has written to its log before.
 * @param logFile as {@link startFailure}; may be missing
 */
export function isRuntimeError(text: string, logFile: string): boolean {
  try {
    return errorsIn(readFileSync(logFile, 'utf8')).includes(text.trim());
  } catch {
    return false; // A process that runs has nothing to do with the log of its runtime.
  }
}

const hybridHint = { hint: 'Use runc, which bears cgroup v1 and v2 side by side.' };

function lastError(log: string): string | undefined {
  return errorsIn(log).at(-1)?.replace(ABOUT_ITSELF, '');
}

function errorsIn(log: string): string[] {
  return log.split('\n').flatMap(errorOf);
}

function errorOf(line: string): string[] {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== 'object' || entry === null) return [];
    if (!('level' in entry && 'msg' in entry) || typeof entry.msg !== 'string') return [];
    return entry.level === 'error' || entry.level === 'fatal' ? [entry.msg.trim()] : [];
  } catch {
    return []; // A line cut short or of another format has nothing to tell.
  }
}

import { SiphonError } from '../common/errors.js';
import { CommandError } from './command-error.js';

const NO_COMMAND = /executable file .*not found|exec: .*no such file or directory/;
const NOT_EXECUTABLE = /exec: .*(?:permission denied|is a directory)|open executable: Permission/;

/**
 * Why a runtime did not start a container, from its log.
 * @param log JSON lines with `level` and `msg`, as runc and crun write them
 */
export function startFailure(id: string, log: string): SiphonError {
  const reason = lastError(log) ?? 'the runtime gave no reason';
  const message = `Cannot start container "${id}": ${reason}`;
  if (NO_COMMAND.test(reason)) return new CommandError(127, message);
  if (NOT_EXECUTABLE.test(reason)) return new CommandError(126, message);
  if (reason.includes('hybrid mode')) return new SiphonError('unsupported', message, hybridHint);
  return new SiphonError('failed-precondition', message);
}

const hybridHint = { hint: 'Use runc, which bears cgroup v1 and v2 side by side.' };

function lastError(log: string): string | undefined {
  const messages = log.split('\n').flatMap(errorOf);
  return messages
    .at(-1)
    ?.replace(/^(?:runc run failed: |unable to start container process: )+/, '');
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

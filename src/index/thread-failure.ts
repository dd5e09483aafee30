/** An error on its way from a thread that makes an index to the one that asked for it. */

import { isDiskFull } from '../common/disk-full.js';
import { type ErrorCode, SiphonError, errorMessage } from '../common/errors.js';

/** Without a code it is a defect. */
export interface Failure {
  kind: 'failed';
  code: ErrorCode | undefined;
  message: string;
  hint: string | undefined;
  stack: string | undefined;
}

/** @param path of the index file that was being written */
export function failureOf(error: unknown, path: string): Failure {
  const known = asKnown(error, path);
  return {
    kind: 'failed',
    code: known?.code,
    message: errorMessage(known ?? error),
    hint: known?.hint,
    stack: error instanceof Error ? error.stack : undefined,
  };
}

/** What {@link failureOf} was made of, as far as it matters. */
export function errorFrom(failed: Failure): Error {
  if (failed.code !== undefined) {
    return new SiphonError(
      failed.code,
      failed.message,
      failed.hint === undefined ? {} : { hint: failed.hint },
    );
  }
  const error = new Error(failed.message);
  if (failed.stack !== undefined) error.stack = failed.stack;
  return error;
}

/** A full disk is no defect; SQLite says it in its own words. */
function asKnown(error: unknown, path: string): SiphonError | undefined {
  if (error instanceof SiphonError) return error;
  if (!isDiskFull(error)) return undefined;
  const message = `Cannot write index "${path}": the disk is full, expected room for it`;
  return new SiphonError('no-space', message, { cause: error });
}

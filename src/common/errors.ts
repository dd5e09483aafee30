/**
 * The one error class of siphon. Code that fails for a reason a person can act on throws a
 * {@link SiphonError}; each edge (FUSE, gRPC, command line) turns its code into an errno, a status or
 * an exit code by a table of its own. Anything else that is thrown is a defect and is reported with
 * its stack.
 */

import { withoutSecrets } from './secrets.js';

/** What went wrong, in the words that every edge can translate. */
export type ErrorCode =
  | 'usage' // the caller's words are off: wrong flag, malformed reference
  | 'invalid' // input that can never be right: a malformed manifest, a bad label
  | 'not-found'
  | 'already-exists'
  | 'failed-precondition' // right request, wrong state: a mounted view, children present
  | 'unauthorized' // credentials missing or refused
  | 'permission' // this process may not: not root, no /dev/fuse
  | 'unavailable' // a remote that cannot be reached or answers with a server error
  | 'timeout'
  | 'cancelled'
  | 'corrupt' // bytes that do not match their digest, a damaged index, a cut tar
  | 'unsupported' // a format or a kernel feature nothing here serves
  | 'busy'
  | 'no-space'
  | 'internal';

export class SiphonError extends Error {
  override readonly name = 'SiphonError';
  readonly code: ErrorCode;
  /** What the person could do about it, as a sentence; shown after the message. */
  readonly hint: string | undefined;

  /**
   * @param message `Cannot <verb> <thing> "<value>": <what is>, expected <what must be>`; no URL
   * query, token or password. What this process knows to be secret is taken out.
   */
  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(
      withoutSecrets(message),
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.hint = options.hint;
  }
}

/** The code of `error`, or `undefined` where it is no {@link SiphonError}. */
export function errorCode(error: unknown): ErrorCode | undefined {
  return error instanceof SiphonError ? error.code : undefined;
}

/** The message of anything thrown, one line. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The errno name (`ENOENT`, …) of a Node system error, or `undefined`. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Failures of remote work, with what the retry policy needs to know about them. */

import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import type { ErrorCode } from '../common/errors.js';
import { foreignText } from './foreign-text.js';

export interface RemoteErrorOptions {
  hint?: string;
  cause?: unknown;
  /** HTTP status that caused it. */
  status?: number;
  /** Milliseconds the server asks to wait. */
  retryAfter?: number;
  /** Trying again cannot help: a refused certificate. */
  permanent?: boolean;
  /** Nothing at all came from the host. */
  unreachable?: boolean;
}

/** A {@link SiphonError} as any other to everybody outside of `src/remote`. */
export class RemoteError extends SiphonError {
  readonly status: number | undefined;
  readonly retryAfter: number | undefined;
  readonly permanent: boolean;
  readonly unreachable: boolean;

  constructor(code: ErrorCode, message: string, options: RemoteErrorOptions = {}) {
    super(code, message, options);
    this.status = options.status;
    this.retryAfter = options.retryAfter;
    this.permanent = options.permanent ?? false;
    this.unreachable = options.unreachable ?? false;
  }
}

/** Whether the same idempotent request may succeed a moment later. */
export function isRetryable(error: unknown): boolean {
  return (
    error instanceof RemoteError &&
    !error.permanent &&
    (error.code === 'unavailable' || error.code === 'timeout')
  );
}

/** Whether there was no host to talk to; one that answers with an error, or slowly, is there. */
export function isUnreachable(error: unknown): error is RemoteError {
  return error instanceof RemoteError && error.unreachable;
}

/** The code for an answer that is no success (distribution-spec, "Error Codes"). */
export function codeForStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'unauthorized';
  if (status === 404 || status === 410) return 'not-found';
  if (status === 405 || status === 501) return 'unsupported';
  if (status === 408 || status === 425 || status === 429 || status >= 500) return 'unavailable';
  if (status === 416) return 'corrupt';
  return 'failed-precondition';
}

/**
 * What a failed connection means.
 * @param host as dialed
 * @param thrown what undici or Node threw
 */
export function connectionError(host: string, thrown: unknown): RemoteError {
  const cause = shown(innermost(thrown));
  const code = systemCode(cause) ?? '';
  if (code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED') {
    return clientClosed(host, cause);
  }
  if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER') {
    return new RemoteError('unavailable', `Cannot reach "${host}": it does not speak TLS`, {
      hint: 'Use --plain-http if the registry has no TLS.',
      cause,
      permanent: true,
    });
  }
  // undici tells a proxy's answer in words alone, of a tunnel as of a request.
  if (/\(407\)/.test(errorMessage(cause))) {
    return new RemoteError(
      'unauthorized',
      `Cannot reach "${host}": the proxy wants another login`,
      {
        hint: 'HTTP_PROXY and HTTPS_PROXY may hold one: http://USER:PASSWORD@HOST:PORT',
        cause,
        permanent: true,
      },
    );
  }
  const permanent = /CERT|TLS|SELF_SIGNED|UNABLE_TO/.test(code);
  return new RemoteError('unavailable', `Cannot reach "${host}": ${connectionCause(cause)}`, {
    cause,
    permanent,
    unreachable: UNREACHABLE.has(code),
  });
}

/** A request after the end, or cut by it. */
export function clientClosed(host: string, cause?: unknown): RemoteError {
  return new RemoteError('cancelled', `Cannot reach "${host}": its client was closed`, { cause });
}

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection closed',
  UND_ERR_SOCKET: 'connection closed',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  ETIMEDOUT: 'no connection in time',
  ENOTFOUND: 'the name does not resolve',
  EAI_AGAIN: 'the name does not resolve',
  EHOSTUNREACH: 'no route',
  ENETUNREACH: 'no route',
};
/** Those with which a connection does not even begin. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'UND_ERR_CONNECT_TIMEOUT',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

/** Why a connection failed, for people. */
export function connectionCause(error: unknown): string {
  const cause = innermost(error);
  const code = systemCode(cause) ?? '';
  const words = foreignText(errorMessage(cause));
  return CAUSES[code] ?? (code === '' ? words : `${words} (${code})`);
}

/** A cause that can be logged: what undici throws may hold what was received, and certificates have words. */
function shown(error: unknown): Error {
  const code = systemCode(error);
  const words = foreignText(errorMessage(error));
  return Object.assign(new Error(words), code === undefined ? {} : { code });
}

/** Several addresses were tried, or one error wraps another: the first that says why. */
function innermost(thrown: unknown): unknown {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) {
    return innermost(thrown.errors[0]);
  }
  return thrown;
}

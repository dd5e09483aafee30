/** The edge to gRPC: what went wrong, as a status that containerd understands. */

import { type StatusObject, status } from '@grpc/grpc-js';
import { type ErrorCode, SiphonError, errorMessage, systemCode } from '../common/errors.js';

/** containerd's errdefs tells these apart; everything else is "unknown" to it. */
const statuses: Readonly<Record<ErrorCode, status>> = {
  usage: status.INVALID_ARGUMENT,
  invalid: status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  'already-exists': status.ALREADY_EXISTS,
  'failed-precondition': status.FAILED_PRECONDITION,
  unauthorized: status.UNAUTHENTICATED,
  permission: status.PERMISSION_DENIED,
  unavailable: status.UNAVAILABLE,
  timeout: status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  corrupt: status.DATA_LOSS,
  unsupported: status.UNIMPLEMENTED,
  busy: status.UNAVAILABLE,
  'no-space': status.RESOURCE_EXHAUSTED,
  internal: status.INTERNAL,
};

/** Failures of the file system and of SQLite that have a meaning of their own. */
const systemStatuses: Readonly<Record<string, status>> = {
  ENOSPC: status.RESOURCE_EXHAUSTED,
  EDQUOT: status.RESOURCE_EXHAUSTED,
  EMFILE: status.RESOURCE_EXHAUSTED,
  EROFS: status.FAILED_PRECONDITION,
  EACCES: status.PERMISSION_DENIED,
  EPERM: status.PERMISSION_DENIED,
  SQLITE_FULL: status.RESOURCE_EXHAUSTED,
  SQLITE_READONLY: status.FAILED_PRECONDITION,
  SQLITE_CORRUPT: status.DATA_LOSS,
};

/** The status for anything thrown; what is neither known nor a system error is INTERNAL. */
export function statusOf(error: unknown): Pick<StatusObject, 'code' | 'details'> {
  return { code: statusCode(error), details: errorMessage(error) };
}

function statusCode(error: unknown): status {
  if (error instanceof SiphonError) return statuses[error.code];
  return systemStatuses[systemCode(error) ?? ''] ?? status.INTERNAL;
}

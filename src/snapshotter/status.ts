/** The edge to gRPC: what went wrong, as a status that containerd understands. */

import { type StatusObject, status } from '@grpc/grpc-js';
import { isDiskFull } from '../common/disk-full.js';
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
  EMFILE: status.RESOURCE_EXHAUSTED,
  EROFS: status.FAILED_PRECONDITION,
  EACCES: status.PERMISSION_DENIED,
  EPERM: status.PERMISSION_DENIED,
  SQLITE_READONLY: status.FAILED_PRECONDITION,
  SQLITE_CORRUPT: status.DATA_LOSS,
};

/** The status for anything thrown; what is neither known nor a system error is INTERNAL. */
export function statusOf(error: unknown): Pick<StatusObject, 'code' | 'details'> {
  return { code: statusCode(error), details: details(error) };
}

function statusCode(error: unknown): status {
  if (isDiskFull(error)) return status.RESOURCE_EXHAUSTED;
  if (error instanceof SiphonError) return statuses[error.code];
  return systemStatuses[systemCode(error) ?? ''] ?? status.INTERNAL;
}

/** Of a full disk and of one that cannot be written, which the system tells in a few words, what is to be done. */
function details(error: unknown): string {
  const message = errorMessage(error);
  if (isDiskFull(error)) {
    const named = message.includes('ENOSPC') ? message : `${message} (ENOSPC)`;
    return `${named}; expected free space on the disk of siphon's root`;
  }
  if (error instanceof SiphonError) return message;
  const isReadOnly = systemStatuses[systemCode(error) ?? ''] === status.FAILED_PRECONDITION;
  return isReadOnly ? `${message}; expected siphon's root to be writable` : message;
}

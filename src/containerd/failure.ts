/** The edge from gRPC: a status of containerd's as an error of ours. */

import { type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorCode, SiphonError } from '../common/errors.js';

const codes: Partial<Record<status, ErrorCode>> = {
  [status.CANCELLED]: 'cancelled',
  [status.INVALID_ARGUMENT]: 'invalid',
  [status.DEADLINE_EXCEEDED]: 'timeout',
  [status.NOT_FOUND]: 'not-found',
  [status.ALREADY_EXISTS]: 'already-exists',
  [status.PERMISSION_DENIED]: 'permission',
  [status.RESOURCE_EXHAUSTED]: 'no-space',
  [status.FAILED_PRECONDITION]: 'failed-precondition',
  [status.UNIMPLEMENTED]: 'unsupported',
  [status.UNAVAILABLE]: 'unavailable',
  [status.DATA_LOSS]: 'corrupt',
  [status.UNAUTHENTICATED]: 'unauthorized',
};

/**
 * @param purpose what the call was for, after "Cannot"
 * @param address socket of the containerd that was called
 */
export function failureOf(error: unknown, purpose: string, address: string): Error {
  if (!isServiceError(error)) return error instanceof Error ? error : new Error(String(error));
  const message = `Cannot ${purpose}: containerd at "${address}" answers: ${error.details}`;
  return new SiphonError(codes[error.code] ?? 'internal', message, { cause: error });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'details' in error && 'code' in error;
}

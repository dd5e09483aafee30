import { SiphonError, errorMessage } from '../common/errors.js';

/** What a container printed cannot be written where it should go. */
export function outputError(id: string, cause: unknown): SiphonError {
  return new SiphonError(
    'failed-precondition',
    `Cannot write what container "${id}" prints: ${errorMessage(cause)}`,
    { cause },
  );
}

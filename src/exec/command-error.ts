import { SiphonError } from '../common/errors.js';

/**
 * The image has no such command (`exitCode` 127) or the command is no program that can be run (126):
 * the exit codes of a shell, which docker gives too. The command line exits with {@link exitCode}.
 */
export class CommandError extends SiphonError {
  readonly exitCode: 126 | 127;

  constructor(
    exitCode: 126 | 127,
    message: string,
    options: { hint?: string; cause?: unknown } = {},
  ) {
    super(exitCode === 127 ? 'not-found' : 'permission', message, options);
    this.exitCode = exitCode;
  }
}

import { SiphonError } from '../common/errors.js';
import type { RunContainerOptions } from './run-options.js';

/** Runs a process of an image in the foreground until it ends. */
export async function runContainer(options: RunContainerOptions): Promise<number> {
  throw new SiphonError('unsupported', `Cannot run container "${options.id}": work in progress`);
}

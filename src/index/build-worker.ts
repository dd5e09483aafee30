/** The worker thread that builds one index; started by {@link buildIndex}. */

import { parentPort, workerData } from 'node:worker_threads';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import type { BuildJob, FromBuilder, ToBuilder } from './build-protocol.js';
import { IndexBuilder } from './index-builder.js';

const port = parentPort;
if (port === null) throw new Error('build-worker runs in a worker thread only');

const say = (message: FromBuilder, transfer: ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer);
// Written by buildIndex, in this very package.
const builder = attempt(() => new IndexBuilder(workerData as BuildJob));

port.on('message', (message: ToBuilder) => {
  if (builder === undefined) return;
  attempt(() => {
    if (message.kind === 'end') {
      say({ kind: 'done', info: builder.finish() });
      return;
    }
    builder.push(Buffer.from(message.block, 0, message.length));
    say({ kind: 'taken', block: message.block }, [message.block]);
  });
});

/** Reports what is thrown; the other side then ends this thread and removes the files. */
function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    const known = asKnown(error);
    say({
      kind: 'failed',
      code: known?.code,
      message: errorMessage(known ?? error),
      hint: known?.hint,
      stack: error instanceof Error ? error.stack : undefined,
    });
    port?.close();
    return undefined;
  }
}

/** A full disk is no defect; SQLite says it in its own words. */
function asKnown(error: unknown): SiphonError | undefined {
  if (error instanceof SiphonError) return error;
  if (systemCode(error) !== 'SQLITE_FULL') return undefined;
  const message = `Cannot write index "${(workerData as BuildJob).path}": the disk is full, expected room for it`;
  return new SiphonError('no-space', message, { cause: error });
}

/** The worker thread that unpacks layers, one after another; started by {@link UnpackThread}. */

import { parentPort } from 'node:worker_threads';
import { SiphonError, errorMessage } from '../common/errors.js';
import { dropThreadUmask } from '../ffi/at-calls.js';
import { BlockQueue } from './block-queue.js';
import { unpackBlob } from './unpack-blob.js';
import type { UnpackJob } from './unpack-model.js';
import type { FromUnpacker, ToUnpacker } from './unpack-protocol.js';

const port = parentPort;
if (port === null) throw new Error('unpack-worker runs in a worker thread only');

const say = (message: FromUnpacker, transfer: ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer);
const exactModes = dropThreadUmask();
let queue: BlockQueue | undefined;

port.on('message', (message: ToUnpacker) => {
  switch (message.kind) {
    case 'begin':
      queue = new BlockQueue((block) => say({ kind: 'taken', block }, [block]));
      void unpack(queue, message.job);
      break;
    case 'bytes':
      queue?.push(message.block, message.length);
      break;
    case 'end':
      queue?.end();
      break;
    case 'cancel':
      queue?.end(new SiphonError('cancelled', 'Cannot unpack layer: the work was cancelled'));
  }
});

async function unpack(input: BlockQueue, job: UnpackJob): Promise<void> {
  try {
    const layer = await unpackBlob(input, job, exactModes);
    say({ kind: 'done', layer });
  } catch (error) {
    const known = error instanceof SiphonError ? error : undefined;
    const stack = error instanceof Error ? error.stack : undefined;
    const { code, hint } = known ?? {};
    say({ kind: 'failed', code, hint, message: errorMessage(error), stack });
  }
}

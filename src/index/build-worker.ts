/** The worker thread that builds indexes; started by {@link buildIndex}. */

import {
  BLOCKS,
  BLOCK_SIZE,
  type BlockTaken,
  type BuildJob,
  type ToBuilder,
} from './build-protocol.js';
import { DECODER_LAG } from './decoder-model.js';
import { DecoderThread } from './decoder-thread.js';
import { type DecoderFactory, IndexBuilder, decodeHere } from './index-builder.js';
import { IndexJobs } from './index-job.js';

/** Smaller blobs are decoded before another thread has started. */
const LARGE = 8 << 20;

/** Serves one layer after another. */
let decoderThread: DecoderThread | undefined;
/** What is being built; it has memory of native code, which does not go with the thread. */
let unfinished: IndexBuilder | undefined;

new IndexJobs<BuildJob, ToBuilder, BlockTaken>(
  (data, job) => {
    const { checkWanted } = job;
    const builder = new IndexBuilder({ ...data, decoder: decoderFor(data), checkWanted });
    unfinished = builder;
    /** Offsets of the last blocks, which the decoder may not be done with. */
    const lagging: number[] = [];
    return (message) => {
      if (message.kind === 'end') {
        const info = builder.finish();
        unfinished = undefined;
        job.done(info);
        return;
      }
      const { offset, length } = message;
      builder.push(Buffer.from(data.arena, offset, length));
      lagging.push(offset);
      const [free] = lagging.splice(0, lagging.length - DECODER_LAG);
      if (free !== undefined) job.request({ offset: free });
    };
  },
  async () => {
    unfinished?.abort();
    await decoderThread?.end();
  },
).listen();

function decoderFor({ arena, expected }: BuildJob): DecoderFactory {
  const isSmall = (expected?.blobSize ?? LARGE) < LARGE;
  return (compression, listener, options) => {
    // What is not compressed takes no decoding.
    if (isSmall || compression === 'none') return decodeHere(compression, listener, options);
    decoderThread ??= new DecoderThread();
    const memoryOffset = BLOCKS * BLOCK_SIZE;
    return decoderThread.begin({ arena, memoryOffset, compression, ...options }, listener);
  };
}

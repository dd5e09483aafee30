/** One {@link FetchQueue} a host, for all that this process reads. */

import type { BlobSource } from '../common/blob-source.js';
import { FETCH_CLASSES, type FetchClass } from '../common/urgency.js';
import type { RangeListener } from './ranged-blob.js';
import { type FetchCounts, FetchQueue, type QueueLimits } from './fetch-queue.js';

export interface ClassCounts extends FetchCounts {
  /** Requests that wait for their turn now. */
  queued: number;
}

export class FetchQueues {
  readonly #limits: QueueLimits | undefined;
  readonly #queues = new Map<string, FetchQueue>();

  /** @param limits for each host */
  constructor(limits?: QueueLimits) {
    this.#limits = limits;
  }

  /**
   * `source`, read in the order of its host's queue.
   * @param flow what takes turns with others: an image's repository
   */
  ordering(source: BlobSource, host: string, flow: string): BlobSource {
    return this.#queueOf(host).ordering(source, flow);
  }

  /** To be told of the ranges that came from a host: they show what requests cost. */
  learning(host: string): RangeListener {
    const { link } = this.#queueOf(host);
    return (range) => link.learn(range);
  }

  /** What was fetched so far, and what waits, of all hosts. */
  counts(): Record<FetchClass, ClassCounts> {
    const entries = FETCH_CLASSES.map((of) => [of, this.#countsOf(of)] as const);
    return Object.fromEntries(entries) as Record<FetchClass, ClassCounts>; // one for each class
  }

  #queueOf(host: string): FetchQueue {
    let queue = this.#queues.get(host);
    if (queue === undefined) this.#queues.set(host, (queue = new FetchQueue(this.#limits)));
    return queue;
  }

  #countsOf(of: FetchClass): ClassCounts {
    const sum = { requests: 0, bytes: 0, queued: 0 };
    for (const queue of this.#queues.values()) {
      sum.requests += queue.done[of].requests;
      sum.bytes += queue.done[of].bytes;
      sum.queued += queue.queued(of);
    }
    return sum;
  }
}

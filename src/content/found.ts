/** What a search for things published beside an image came to. */

import type { Digest } from '../common/digest.js';
import { errorCode } from '../common/errors.js';
import { SharedWork } from '../common/shared-work.js';

export interface Found<T> {
  /** By the digest of the layer blob that each is about. */
  indexes: Map<Digest, T>;
  /** Whether all that there is could be looked at; if not, it is worth looking again. */
  complete: boolean;
}

/** Whether another attempt may well succeed. */
export function isPassing(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'unavailable' || code === 'timeout';
}

/** A search that is made once, however many ask, and again only where it was not complete. */
export class Search<T> {
  readonly #work = new SharedWork<'search', Found<T>>();
  readonly #look: (signal: AbortSignal) => Promise<Found<T>>;
  #known: Map<Digest, T> | undefined;

  constructor(look: (signal: AbortSignal) => Promise<Found<T>>) {
    this.#look = look;
  }

  /** @throws what looking throws */
  async find(signal: AbortSignal): Promise<Map<Digest, T>> {
    if (this.#known !== undefined) return this.#known;
    const { indexes, complete } = await this.#work.run('search', signal, this.#look);
    if (complete) this.#known = indexes;
    return indexes;
  }
}

/** Work that is done one piece after the other. */

import { untilAborted } from './until-aborted.js';

export class Turns {
  /** Settles with the last piece that was begun. */
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Does `work` when what was begun before is over.
   * @throws what `work` throws; what aborted `signal`, after which it waits for nobody's turn
   */
  async take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const mine = untilAborted(before, signal).then(work);
    this.#last = Promise.allSettled([before, mine]);
    return mine;
  }
}

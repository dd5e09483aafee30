/**
 * The one pass over a layer of which only headers were read so far: begun by the first who needs contents,
 * shared by all, and going on when they give up, since whoever comes next would have to begin it anew.
 */

import { SiphonError, errorCode } from '../common/errors.js';
import { type FetchClass, Urgency } from '../common/urgency.js';
import { untilAborted } from '../common/until-aborted.js';

/** How long what was not as it should be is taken to be so still: each try draws the whole layer, in ms. */
const BAD_FOR = 30_000;

/** `urgency` is that of the most urgent wait. */
export type CompletionWork = (signal: AbortSignal, urgency: Urgency) => Promise<void>;

export class LayerCompletion {
  readonly #work: CompletionWork;
  readonly #closing: AbortSignal;
  #running: Promise<void> | undefined;
  #urgency = new Urgency('fill');

  /** @param closing ends the work */
  constructor(work: CompletionWork, closing: AbortSignal) {
    this.#work = work;
    this.#closing = closing;
  }

  /**
   * Resolves once the layer is complete.
   * @throws what the work throws; for a while, nobody tries again where the layer was not what it should be.
   * SiphonError `cancelled` as soon as `signal` is aborted
   */
  async wait(signal: AbortSignal, of: FetchClass = 'waiting'): Promise<void> {
    this.#urgency.raise(of);
    this.#running ??= this.#begin();
    try {
      await untilAborted(this.#running, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      throw new SiphonError('cancelled', 'Cannot complete layer: nobody waits for it any more', {
        cause: error,
      });
    }
  }

  /** Resolves when nothing is under way, whatever came of it. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => undefined);
  }

  #begin(): Promise<void> {
    const running = this.#work(this.#closing, this.#urgency);
    running.catch((error: unknown) => {
      this.#urgency = new Urgency('fill');
      const forget = (): void => void (this.#running = undefined);
      if (errorCode(error) === 'corrupt') setTimeout(forget, BAD_FOR).unref();
      else forget();
    });
    return running;
  }
}

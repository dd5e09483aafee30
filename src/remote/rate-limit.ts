/**
 * A number of bytes per second, on average, in several ranks: whoever wants bytes waits until those of its rank
 * and of more urgent ones are paid for, and never for those of less urgent ones. Bytes are spent first and paid
 * for afterwards, so that all ranks together exceed the rate by what the last to start has asked for.
 */

import { FETCH_CLASSES } from '../common/urgency.js';

export class RateLimit {
  readonly #bytesPerSecond: number | undefined;
  /** By rank, by the clock of `performance`. */
  readonly #paidAt: number[] = FETCH_CLASSES.map(() => 0);

  /** @param bytesPerSecond `undefined`: no limit */
  constructor(bytesPerSecond: number | undefined) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** From when on something of this rank may start. */
  allowedAt(rank: number): number {
    return this.#paidAt[rank] ?? 0;
  }

  spend(bytes: number, rank: number): void {
    if (this.#bytesPerSecond === undefined) return;
    const time = (bytes / this.#bytesPerSecond) * 1000;
    const now = performance.now();
    for (const [of, paidAt] of this.#paidAt.entries())
      if (of >= rank) this.#paidAt[of] = Math.max(now, paidAt) + time;
  }
}

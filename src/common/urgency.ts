/** How much somebody wants bytes of a blob, which may change while they are on their way. */

/** From the most urgent to the least: a read waits for it; one is likely to come; only to have it. */
export const FETCH_CLASSES = ['waiting', 'prefetch', 'fill'] as const;
export type FetchClass = (typeof FETCH_CLASSES)[number];

export class Urgency {
  #class: FetchClass;
  #onRaise: () => void = () => undefined;

  constructor(of: FetchClass) {
    this.#class = of;
  }

  get class(): FetchClass {
    return this.#class;
  }

  /** 0 is the most urgent. */
  get rank(): number {
    return FETCH_CLASSES.indexOf(this.#class);
  }

  /** Makes it as urgent as `to`; never less urgent than it is. */
  raise(to: FetchClass): void {
    if (FETCH_CLASSES.indexOf(to) >= this.rank) return;
    this.#class = to;
    this.#onRaise();
  }

  /** Calls `listener`, in place of an earlier one, whenever it is raised. */
  onRaise(listener: () => void): void {
    this.#onRaise = listener;
  }
}

/**
 * A hand-over of values from one task to another, one at a time: {@link Channel.send} resolves once the
 * receiver has asked for the next value, so a slow receiver slows the sender and nothing piles up.
 */
export class Channel<T> implements AsyncIterable<T> {
  #waiting: Receiver<T> | undefined;
  #offered: { value: T; taken: () => void } | undefined;
  #closed: { error: Error | undefined } | undefined;

  /** Resolves when the value was taken; at once, and without effect, where nobody will receive it. */
  send(value: T): Promise<void> {
    if (this.#closed !== undefined) return Promise.resolve();
    const receiver = this.#waiting;
    if (receiver !== undefined) {
      this.#waiting = undefined;
      receiver.resolve({ done: false, value });
      return Promise.resolve();
    }
    return new Promise((taken) => (this.#offered = { value, taken }));
  }

  /** Ends the sequence; with an error, the receiver gets it thrown. */
  end(error?: Error): void {
    this.#closed ??= { error };
    this.#offered?.taken();
    this.#offered = undefined;
    const receiver = this.#waiting;
    this.#waiting = undefined;
    if (receiver !== undefined) this.#finish(receiver);
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return {
      next: () => new Promise((resolve, reject) => this.#receive({ resolve, reject })),
      return: () => {
        this.end();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #receive(receiver: Receiver<T>): void {
    const offered = this.#offered;
    if (offered !== undefined) {
      this.#offered = undefined;
      offered.taken();
      receiver.resolve({ done: false, value: offered.value });
    } else if (this.#closed !== undefined) this.#finish(receiver);
    else this.#waiting = receiver;
  }

  #finish(receiver: Receiver<T>): void {
    const error = this.#closed?.error;
    if (error === undefined) receiver.resolve({ done: true, value: undefined });
    else receiver.reject(error);
  }
}

interface Receiver<T> {
  resolve: (result: IteratorResult<T, undefined>) => void;
  reject: (error: Error) => void;
}

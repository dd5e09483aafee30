/**
 * Blocks of a blob between the message that brings them and the loop that uses them. A block goes back
 * when the next one is asked for; what comes after a failure goes back at once.
 */
export class BlockQueue implements AsyncIterator<Buffer> {
  readonly #giveBack: (block: ArrayBuffer) => void;
  readonly #blocks: { block: ArrayBuffer; length: number }[] = [];
  #inUse: ArrayBuffer | undefined;
  #ended: { error: Error | undefined } | undefined;
  #wake: () => void = () => undefined;

  constructor(giveBack: (block: ArrayBuffer) => void) {
    this.#giveBack = giveBack;
  }

  /** The first `length` bytes of the block are next. */
  push(block: ArrayBuffer, length: number): void {
    this.#blocks.push({ block, length });
    this.#wake();
  }

  /** Nothing more comes; with an error, not even what is queued. The first word counts. */
  end(error?: Error): void {
    if (this.#ended?.error !== undefined) return;
    this.#ended = { error };
    this.#wake();
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    if (this.#inUse !== undefined) this.#giveBack(this.#inUse);
    this.#inUse = undefined;
    for (;;) {
      if (this.#ended?.error !== undefined) throw this.#ended.error;
      const next = this.#blocks.shift();
      if (next !== undefined) {
        this.#inUse = next.block;
        return { done: false, value: Buffer.from(next.block, 0, next.length) };
      }
      if (this.#ended !== undefined) return { done: true, value: undefined };
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

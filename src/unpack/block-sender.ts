/**
 * Copies bytes into a few blocks that wander between two threads and back. While all of them are under way,
 * writing waits.
 */

const BLOCK_SIZE = 512 * 1024;
/** Blocks under way: 4 MiB between the threads. */
const BLOCKS = 8;

export class BlockSender {
  readonly #send: (block: ArrayBuffer, length: number) => void;
  readonly #free: ArrayBuffer[] = [];
  #made = 0;
  #block: Buffer | undefined;
  #filled = 0;
  #wake: () => void = () => undefined;

  /** @param send hands on the first `length` bytes of a block, which comes back by {@link giveBack} */
  constructor(send: (block: ArrayBuffer, length: number) => void) {
    this.#send = send;
  }

  /** Resolves once the bytes are copied. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      this.#block ??= await this.#freeBlock();
      const piece = bytes.subarray(at, at + BLOCK_SIZE - this.#filled);
      this.#block.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled === BLOCK_SIZE) this.flush();
    }
  }

  /** Sends what is in a block that is not full yet. */
  flush(): void {
    if (this.#block === undefined) return;
    // Made in this class, not shared.
    const block = this.#block.buffer as ArrayBuffer;
    const length = this.#filled;
    this.#block = undefined;
    this.#filled = 0;
    this.#send(block, length);
  }

  giveBack(block: ArrayBuffer): void {
    this.#free.push(block);
    this.#wake();
  }

  async #freeBlock(): Promise<Buffer> {
    for (;;) {
      const block = this.#free.pop();
      if (block !== undefined) return Buffer.from(block);
      if (this.#made < BLOCKS) {
        this.#made += 1;
        return Buffer.from(new ArrayBuffer(BLOCK_SIZE));
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

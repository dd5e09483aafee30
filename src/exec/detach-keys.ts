/** Ctrl-P Ctrl-Q in what is typed: the keys that leave a container without ending it. */

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

export class DetachKeys {
  /** A Ctrl-P that nothing follows yet. */
  #held = false;

  /** @returns what is to be handed on, and whether the keys came; what comes after them is dropped */
  push(chunk: Buffer): { data: Buffer; detach: boolean } {
    const data: number[] = [];
    for (const byte of chunk) {
      if (this.#held && byte === CTRL_Q) {
        this.#held = false;
        return { data: Buffer.from(data), detach: true };
      }
      if (this.#held) data.push(CTRL_P);
      this.#held = byte === CTRL_P;
      if (!this.#held) data.push(byte);
    }
    return { data: Buffer.from(data), detach: false };
  }
}

/** How long a line that was said is not said again, in ms. */
const quietTime = 10_000;
/** Lines remembered at most. */
const limit = 256;

/** Lets a line through once in a while, so that a broken layer cannot flood the log. */
export class LogLimiter {
  readonly #said = new Map<string, number>();

  /** Whether `line` was not said within the last ten seconds. */
  allows(line: string, now: number = performance.now()): boolean {
    const last = this.#said.get(line);
    if (last !== undefined && now - last < quietTime) return false;
    this.#said.delete(line);
    this.#said.set(line, now);
    for (const oldest of this.#said.keys()) {
      if (this.#said.size <= limit) break;
      this.#said.delete(oldest);
    }
    return true;
  }
}

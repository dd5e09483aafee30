/** What the demo shows: lines, and on a terminal one line that is drawn anew while something runs. */

import { formatBytes } from '#src/cli/format.js';

const REDRAW_MS = 100;
const BAR_WIDTH = 30;

export class Screen {
  readonly #output: NodeJS.WriteStream;
  #live = false;

  constructor(output: NodeJS.WriteStream = process.stdout) {
    this.#output = output;
  }

  title(text: string): void {
    this.line(`\n${this.#output.isTTY ? `\x1b[1m${text}\x1b[0m` : text}`);
  }

  line(text = ''): void {
    this.#clear();
    this.#output.write(`${text}\n`);
  }

  /** Shows `done` of `total` bytes while `work` runs; only on a terminal. */
  async watch<T>(work: Promise<T>, label: string, progress: () => [number, number]): Promise<T> {
    if (!this.#output.isTTY) return work;
    const timer = setInterval(() => this.#draw(`  ${label} ${bar(...progress())}`), REDRAW_MS);
    try {
      return await work;
    } finally {
      clearInterval(timer);
      this.#clear();
    }
  }

  #draw(text: string): void {
    this.#output.write(`\r\x1b[2K${text}`);
    this.#live = true;
  }

  #clear(): void {
    if (this.#live) this.#output.write('\r\x1b[2K');
    this.#live = false;
  }
}

/** `|####------| 3.1 MiB of 99.0 MiB (3 %)` */
function bar(done: number, total: number): string {
  const share = total === 0 ? 0 : Math.min(1, done / total);
  const filled = Math.round(share * BAR_WIDTH);
  return `|${'#'.repeat(filled)}${'-'.repeat(BAR_WIDTH - filled)}| ${portion(done, total)}`;
}

/** `3.1 MiB of 99.0 MiB (3 %)` */
export function portion(done: number, total: number): string {
  const percent = total === 0 ? 0 : Math.round((100 * done) / total);
  return `${formatBytes(done)} of ${formatBytes(total)} (${percent} %)`;
}

/** `0.42 s` */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

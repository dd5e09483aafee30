/**
 * What is being measured now: on a terminal one line, drawn anew in place, with what is done and the time that is
 * probably left; elsewhere a line for every step. It writes as steps begin and not by a clock, which would disturb
 * what is measured.
 */

import { formatMs } from './units.js';

export interface BenchProgress {
  /** A step begins. */
  step(title: string): void;
  /** Something to be kept on the screen, such as an error. */
  note(text: string): void;
  /** Leaves the cursor on a line of its own. */
  end(): void;
}

interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** @param steps how many there will be in all */
export function createBenchProgress(
  steps: number,
  output: Output = process.stderr,
  now: () => number = () => performance.now(),
): BenchProgress {
  const begin = now();
  let begun = 0;
  const head = (title: string): string => {
    const count = String(begun).padStart(String(steps).length);
    return `[${count}/${steps}] ${title}`;
  };
  const left = (): string => {
    const over = begun - 1;
    return over === 0 ? '' : `  ${formatMs(((now() - begin) / over) * (steps - over))} left`;
  };
  const isTerminal = output.isTTY === true;
  const clear = '\r\x1b[2K';
  return {
    step(title) {
      begun += 1;
      if (!isTerminal) output.write(`${head(title)}\n`);
      else output.write(`${clear}${fit(head(title), left(), (output.columns || 80) - 1)}`);
    },
    note: (text) => void output.write(`${isTerminal ? clear : ''}${text}\n`),
    end: () => void (isTerminal && output.write(clear)),
  };
}

/** The title gives way to what stands behind it. */
function fit(title: string, behind: string, width: number): string {
  return `${title.slice(0, Math.max(0, width - behind.length))}${behind}`;
}

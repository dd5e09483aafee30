/**
 * How work on layers is shown: on a terminal one line a layer, drawn anew in place, in the manner of
 * ctr; elsewhere a plain line whenever a layer's status changes. Everything goes to standard error, so
 * that standard output stays the command's result.
 */

import type { Digest } from '../common/digest.js';
import { formatBytes } from './format.js';

/** What is being done about a blob. */
export interface ProgressEvent {
  digest: Digest;
  /** What the blob is, where not all of them are layers. */
  kind?: string;
  status: string;
  /** Bytes, out of `total`. */
  done: number;
  total: number;
}

export interface ProgressDisplay {
  update(event: ProgressEvent): void;
  /** Draws the last state and leaves the cursor below it. */
  end(): void;
}

interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const redrawInterval = 100; // ms

/** A display that suits `output`: bars on a terminal, lines elsewhere. */
export function createProgress(output: Output = process.stderr): ProgressDisplay {
  return output.isTTY === true ? terminalProgress(output) : lineProgress(output);
}

function lineProgress(output: Output): ProgressDisplay {
  const seen = new Map<Digest, string>();
  return {
    update(event) {
      if (seen.get(event.digest) === event.status) return;
      seen.set(event.digest, event.status);
      output.write(`${nameOf(event)} ${event.status} ${formatBytes(event.total)}\n`);
    },
    end() {},
  };
}

function terminalProgress(output: Output): ProgressDisplay {
  const events = new Map<Digest, ProgressEvent>();
  const started = Date.now();
  let drawn = 0;
  const draw = (): void => {
    const width = (output.columns || 80) - 1;
    const lines = [...events.values()].map((event) => bar(event, width));
    lines.push(`elapsed ${((Date.now() - started) / 1000).toFixed(1)} s`);
    const up = drawn > 0 ? `\x1b[${drawn}A` : '';
    output.write(up + lines.map((line) => `\x1b[2K${line.slice(0, width)}\n`).join(''));
    drawn = lines.length;
  };
  const timer = setInterval(() => events.size > 0 && draw(), redrawInterval);
  timer.unref();
  return {
    update(event) {
      events.set(event.digest, event);
    },
    end() {
      clearInterval(timer);
      if (events.size > 0) draw();
    },
  };
}

function bar(event: ProgressEvent, width: number): string {
  const head = `${`${nameOf(event)}:`.padEnd(event.kind === undefined ? 0 : 29)} ${event.status.padEnd(11)}`;
  const tail = ` ${formatBytes(event.done)}/${formatBytes(event.total)}`;
  const room = Math.max(10, Math.min(40, width - head.length - tail.length - 3));
  const filled = event.total === 0 ? room : Math.round((room * event.done) / event.total);
  return `${head} |${'+'.repeat(filled)}${'-'.repeat(room - filled)}|${tail}`;
}

function nameOf({ kind, digest }: ProgressEvent): string {
  const short = digest.slice(0, 'sha256:'.length + 12);
  return kind === undefined ? short : `${kind}-${short}`;
}

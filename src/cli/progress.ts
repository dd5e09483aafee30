/**
 * How work on layers is shown: on a terminal one line a layer, drawn anew in place, in the manner of
 * ctr; elsewhere a plain line whenever a layer's status changes. Everything goes to standard error, so
 * that standard output stays the command's result.
 */

import type { Digest } from '../common/digest.js';
import type { LayerEvent } from '../layers/layer-event.js';
import { formatBytes } from './format.js';

export interface ProgressDisplay {
  update(event: LayerEvent): void;
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
      output.write(`${shortDigest(event.digest)} ${event.status} ${formatBytes(event.total)}\n`);
    },
    end() {},
  };
}

function terminalProgress(output: Output): ProgressDisplay {
  const events = new Map<Digest, LayerEvent>();
  const started = Date.now();
  let drawn = 0;
  const draw = (): void => {
    const width = (output.columns ?? 80) - 1;
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

function bar(event: LayerEvent, width: number): string {
  const head = `${shortDigest(event.digest)}: ${event.status.padEnd(9)}`;
  const tail = ` ${formatBytes(event.done)}/${formatBytes(event.total)}`;
  const room = Math.max(10, Math.min(40, width - head.length - tail.length - 3));
  const filled = event.total === 0 ? room : Math.round((room * event.done) / event.total);
  return `${head} |${'+'.repeat(filled)}${'-'.repeat(room - filled)}|${tail}`;
}

function shortDigest(digest: Digest): string {
  return digest.slice(0, 'sha256:'.length + 12);
}

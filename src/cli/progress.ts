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
  on?(event: 'error', listener: () => void): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const redrawInterval = 100; // ms

/**
 * A display that suits `output`: bars on a terminal, lines elsewhere.
 * @param name what is looked up before there is anything else to show
 */
export function createProgress(name?: string, output: Output = process.stderr): ProgressDisplay {
  goOnUnshown(output);
  return output.isTTY === true ? terminalProgress(name, output) : lineProgress(output);
}

/** As {@link createProgress}, or each event as a line of JSON where that is what a person wants. */
export function createProgressOrEvents(
  { json, name }: { json: boolean; name?: string },
  output: Output = process.stderr,
): ProgressDisplay {
  return json ? eventLog(output) : createProgress(name, output);
}

/** Work whose progress cannot be written goes on: ended amid it, it would leave a container behind. */
function goOnUnshown(output: Output): void {
  output.on?.('error', () => {});
}

/** Every change of a status, and of bytes as often as a bar would be drawn anew. */
function eventLog(output: Output): ProgressDisplay {
  goOnUnshown(output);
  const started = Date.now();
  const last = new Map<Digest, { status: string; at: number }>();
  return {
    update(event) {
      const now = Date.now();
      const { status, at } = last.get(event.digest) ?? { status: '', at: 0 };
      if (status === event.status && now - at < redrawInterval) return;
      last.set(event.digest, { status: event.status, at: now });
      output.write(`${JSON.stringify({ ...event, elapsed: (now - started) / 1000 })}\n`);
    },
    end() {},
  };
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

function terminalProgress(name: string | undefined, output: Output): ProgressDisplay {
  const events = new Map<Digest, ProgressEvent>();
  const started = Date.now();
  let drawn = 0;
  const draw = (): void => {
    const width = (output.columns || 80) - 1;
    const known = [...events.values()].toSorted((a, b) => rank(a) - rank(b));
    const lines = known.map((event) => bar(event, width));
    if (name !== undefined) lines.unshift(nameLine(name, known.length > 0, width));
    lines.push(summary(known, (Date.now() - started) / 1000));
    const up = drawn > 0 ? `\x1b[${drawn}A` : '';
    output.write(up + lines.map((line) => `\x1b[2K${line.slice(0, width)}\n`).join(''));
    drawn = lines.length;
  };
  const hasSome = (): boolean => name !== undefined || events.size > 0;
  const timer = setInterval(() => hasSome() && draw(), redrawInterval);
  timer.unref();
  return {
    update(event) {
      events.set(event.digest, event);
    },
    end() {
      clearInterval(timer);
      if (hasSome()) draw();
    },
  };
}

/** An image's documents stand before its layers. */
function rank({ kind = 'layer' }: ProgressEvent): number {
  return ['index', 'manifest', 'config', 'layer'].indexOf(kind);
}

/** Columns of what a line is about, and of its status. */
const nameWidth = 29;
const statusWidth = 11;

function nameLine(name: string, isResolved: boolean, width: number): string {
  const status = isResolved ? 'resolved' : 'resolving';
  // The name is worth more than the columns.
  const room = Math.max(0, width - statusWidth - 2);
  return `${`${name.slice(0, room)}:`.padEnd(nameWidth)} ${status}`;
}

/** What came in all, where bytes that were not asked for do not count. */
function summary(events: readonly ProgressEvent[], seconds: number): string {
  const bytes = events.reduce((sum, { status, done }) => sum + (status === 'exists' ? 0 : done), 0);
  const rate = formatBytes(Math.round(bytes / Math.max(seconds, redrawInterval / 1000)));
  return `elapsed: ${seconds.toFixed(1)} s  total: ${formatBytes(bytes)} (${rate}/s)`;
}

/** Statuses after which nothing more happens. */
const ends: ReadonlySet<string> = new Set(['done', 'exists', 'prepared', 'ready']);

function bar(event: ProgressEvent, width: number): string {
  const isOver = ends.has(event.status);
  const head = `${`${nameOf(event)}:`.padEnd(event.kind === undefined ? 0 : nameWidth)} ${event.status.padEnd(statusWidth)}`;
  const tail = ` ${isOver ? '' : `${formatBytes(event.done)}/`}${formatBytes(event.total)}`;
  const room = Math.max(10, Math.min(40, width - head.length - tail.length - 3));
  const filled = isOver || event.total === 0 ? room : Math.round((room * event.done) / event.total);
  return `${head} |${'+'.repeat(filled)}${'-'.repeat(room - filled)}|${tail}`;
}

function nameOf({ kind, digest }: ProgressEvent): string {
  const short = digest.slice(0, 'sha256:'.length + 12);
  return kind === undefined ? short : `${kind}-${short}`;
}

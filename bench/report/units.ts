/** Numbers as people read them: three digits that count, and a unit that suits them. */

import { formatBytes } from '#src/cli/format.js';
import type { Amount } from '../harness/result.js';
import type { Metric, Summary } from '../harness/statistics.js';

/** A time: `830 µs`, `12.4 ms`, `1.24 s`, `3 min 20 s`. */
export function formatMs(ms: number): string {
  if (ms === 0) return '0';
  if (ms < 0.9995) return `${digits(ms * 1000)} µs`;
  if (ms < 999.5) return `${digits(ms)} ms`;
  if (ms < 120_000) return `${digits(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** A ratio: `0.13`, `1.00`, `12.3`. */
export function formatRatio(ratio: number): string {
  return ratio < 9.995 ? ratio.toFixed(2) : ratio.toFixed(ratio < 99.95 ? 1 : 0);
}

export function formatMetric(metric: Metric, value: number): string {
  switch (metric) {
    case 'ms':
    case 'cpuMs':
      return formatMs(value);
    case 'bytes':
    case 'pssBytes':
      return formatBytes(Math.round(value));
    case 'requests':
      return String(Math.round(value));
  }
}

/** The median, and in parentheses the ends where they can be told apart: `1.2 s (1.1 s–1.4 s)`. */
export function formatSummary(
  { median, least, greatest }: Summary,
  format: (value: number) => string,
): string {
  const [middle, from, to] = [format(median), format(least), format(greatest)];
  return from === to ? middle : `${middle} (${from}–${to})`;
}

/** What a second gets through of an amount that took `ms`: `310 MiB`, `84,700 entries`. */
export function formatRate({ count, unit }: Amount, ms: number): string {
  const perSecond = (count / ms) * 1000;
  if (unit === 'bytes') return formatBytes(Math.round(perSecond));
  return `${perSecond.toLocaleString('en', { maximumSignificantDigits: 3 })} ${unit}`;
}

function digits(number: number): string {
  return number < 9.995
    ? number.toFixed(2)
    : number < 99.95
      ? number.toFixed(1)
      : number.toFixed(0);
}

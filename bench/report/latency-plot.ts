/** Which share of reads (or starts) took how long: one rising line for each contestant, over a logarithmic scale. */

import { quantile } from '../harness/statistics.js';
import { type Markup, markup, unbroken } from './markup.js';
import { SIDE, place, plot } from './plot.js';
import { formatMs } from './units.js';

export interface Latencies {
  name: string;
  /** Of colour and dashes. */
  look: string;
  /** Milliseconds, in any order, at least one. */
  times: readonly number[];
}

/** A line has that many places, however many reads there were. */
const PLACES = 200;
const HEIGHT = 280; // px
/** Zero has no logarithm: what the clock cannot tell from it counts as this. */
const LEAST = 1e-4;

export function latencyPlot(all: readonly Latencies[], what: string): Markup {
  const scale = logScale(all.flatMap(({ times }) => [quantile(times, 0), quantile(times, 1)]));
  return markup`<ul class="legend">${all.map(
    ({ name, look, times }) => markup`
<li><svg class="sample ${look}" width="34" height="10" aria-hidden="true"><path d="M1 5H33"/></svg>
${name}: <span class="value">${middleAndEnd(times)}</span></li>`,
  )}
</ul>
${plot({
  description: `Shares of ${what}s by the time they took. ${all.map(({ name, times }) => `${name}: ${middleAndEnd(times)}`).join('; ')}.`,
  xTicks: scale.ticks,
  xTitle: `time of one ${what}`,
  yTicks: [1, 0.75, 0.5, 0.25, 0].map((share) => ({ at: 1 - share, label: `${share * 100} %` })),
  height: HEIGHT,
  drawing: markup`${all.map(
    ({ name, look, times }) =>
      markup`<path class="line ${look}" d="${risingLine(times, scale.at)}"><title>${name}</title></path>`,
  )}`,
})}`;
}

function middleAndEnd(times: readonly number[]): string {
  const [half, most] = [quantile(times, 0.5), quantile(times, 0.99)];
  return unbroken(`half within ${formatMs(half)}, 99 % within ${formatMs(most)}`);
}

/** Steps, as an empirical distribution has them. */
function risingLine(times: readonly number[], at: (ms: number) => number): string {
  const sorted = times.toSorted((a, b) => a - b);
  const count = Math.min(PLACES, sorted.length);
  const steps = Array.from({ length: count }, (_, n) => {
    const share = (n + 1) / count;
    const time = sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
    return `H${place(at(time))}V${place(1 - share)}`;
  });
  return `M${place(at(sorted[0] ?? 0))} ${SIDE}${steps.join('')}H${SIDE}`;
}

interface Scale {
  /** 0 to 1 */
  at: (ms: number) => number;
  ticks: { at: number; label: string }[];
}

/** Over whole decades, or over thirds of one where the times are close together. */
function logScale(times: readonly number[]): Scale {
  const logs = times.map((time) => Math.log10(Math.max(time, LEAST)));
  const from = Math.floor(Math.min(...logs));
  const to = Math.max(from + 1, Math.ceil(Math.max(...logs)));
  const at = (ms: number): number => (Math.log10(Math.max(ms, LEAST)) - from) / (to - from);
  const factors = to - from <= 2 ? [1, 2, 5] : [1];
  const decades = Array.from({ length: to - from + 1 }, (_, n) => 10 ** (from + n));
  const ticks = decades.flatMap((decade) => factors.map((factor) => decade * factor));
  const shown = ticks.filter((time) => at(time) <= 1.0001);
  return { at, ticks: shown.map((time) => ({ at: at(time), label: shortMs(time) })) };
}

/** `10 µs`, `0.1 s`: one digit is enough. */
function shortMs(ms: number): string {
  const [value, unit] = ms < 1 ? [ms * 1000, 'µs'] : ms < 1000 ? [ms, 'ms'] : [ms / 1000, 's'];
  return `${Number(value.toPrecision(1))} ${unit}`;
}

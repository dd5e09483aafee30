/** Bars below each other, one for each contestant, whose parts follow one another. What they say stands beside them. */

import { type Markup, markup, unbroken } from './markup.js';

export interface Bar {
  name: string;
  /** What it comes to. */
  text: string;
  parts: readonly BarPart[];
  /** From the least to the greatest, where it was measured several times. */
  spread?: { least: number; greatest: number };
  /** In small print below. */
  detail?: string;
}

interface BarPart {
  value: number;
  /** CSS class that has the colour. */
  look: string;
  title: string;
}

/** Pixels. */
const HEIGHT = 18;

export function bars(all: readonly Bar[]): Markup {
  const end = Math.max(...all.map((bar) => Math.max(sumOf(bar), bar.spread?.greatest ?? 0)));
  return markup`<ul class="bars">${all.map(
    (bar) => markup`
<li><span class="name">${bar.name}</span> <span class="value">${unbroken(bar.text)}</span>
${drawBar(bar, end)}${bar.detail === undefined ? undefined : markup`<span class="detail">${unbroken(bar.detail)}</span>`}</li>`,
  )}
</ul>`;
}

function drawBar(bar: Bar, end: number): Markup {
  let at = 0;
  const percent = (value: number): string => `${((100 * value) / end).toFixed(3)}%`;
  const parts = bar.parts.flatMap(({ value, look, title }) => {
    const from = at;
    at += value;
    if (value === 0) return [];
    return markup`<rect class="${look}" x="${percent(from)}" width="${percent(value)}" height="${HEIGHT}"><title>${title}</title></rect>`;
  });
  return markup`<svg class="bar" height="${HEIGHT}" aria-hidden="true">${parts}${drawSpread(bar, percent)}</svg>`;
}

/** A line with an end on either side. */
function drawSpread({ spread }: Bar, percent: (value: number) => string): Markup | undefined {
  if (spread === undefined || spread.least === spread.greatest) return undefined;
  const [from, to] = [percent(spread.least), percent(spread.greatest)];
  const middle = HEIGHT / 2;
  const end = (x: string): Markup =>
    markup`<line x1="${x}" x2="${x}" y1="${middle - 4}" y2="${middle + 4}"/>`;
  return markup`<g class="spread"><line x1="${from}" x2="${to}" y1="${middle}" y2="${middle}"/>${end(from)}${end(to)}</g>`;
}

function sumOf({ parts }: Bar): number {
  return parts.reduce((sum, { value }) => sum + value, 0);
}

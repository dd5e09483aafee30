/**
 * What was read of an image's layers, and when: the place in the layers from left to right, time downwards. A
 * request is a line from its first byte to its last. The strip above shows what was read at all.
 */

import { formatBytes } from '#src/cli/format.js';
import type { BenchLayer, TrafficPiece } from '../harness/result.js';
import { type Markup, markup } from './markup.js';
import { type Tick, linearTicks, place, plot } from './plot.js';
import { formatMs } from './units.js';

export interface LayerMap {
  name: string;
  look: string;
  layers: readonly BenchLayer[];
  pieces: readonly TrafficPiece[];
  /** When the container was ready. */
  endMs: number;
}

const HEIGHT = 220; // px
const STRIP = 12; // px

/** @param untilMs where time ends, so that maps beside each other can be compared */
export function layerMap({ name, look, layers, pieces, endMs }: LayerMap, untilMs: number): Markup {
  const layout = layersInLine(layers);
  const drawn = pieces.flatMap((piece) => {
    const start = layout.starts.get(piece.digest);
    return start === undefined ? [] : [{ ...piece, offset: start + piece.offset }];
  });
  const x = (offset: number): number => place(offset / layout.size);
  const y = (ms: number): number => place(Math.min(1, ms / untilMs));
  const covered = union(drawn);
  const facts = factsOf(covered, layout.size, pieces, drawn);
  const lines = drawn.map(
    ({ offset, length, startMs, endMs }) =>
      `M${x(offset)} ${y(startMs)}L${x(offset + length)} ${y(endMs)}`,
  );
  const borders = [...layout.starts.values()].slice(1).map((start) => `M${x(start)} 0V1000`);
  const drawing = markup`<path class="border" d="${borders.join('')}"/>
<path class="ready" d="M0 ${y(endMs)}H1000"/><path class="pieces ${look}" d="${lines.join('')}"/>`;
  return markup`<section class="map"><h4>${name}</h4>
<p class="detail">${facts}</p>
<svg class="strip" height="${STRIP}" viewBox="0 0 1000 1" preserveAspectRatio="none" aria-hidden="true"><rect class="unread" width="1000" height="1"/><path class="${look}" d="${covered.map(({ from, to }) => `M${x(from)} 0H${x(to)}V1H${x(from)}Z`).join('')}"/></svg>
${plot({
  description: `${name}: what was read of the layers over time. ${facts}. Ready after ${formatMs(endMs)}.`,
  xTicks: byteTicks(layout.size),
  xTitle: 'place in the layers',
  yTicks: linearTicks(untilMs, 5, 10).map((ms) => ({ at: ms / untilMs, label: secondsOf(ms) })),
  height: HEIGHT,
  drawing,
})}</section>`;
}

interface Interval {
  from: number;
  to: number;
}

/** What the pieces cover, from the left, without overlaps. */
function union(pieces: readonly TrafficPiece[]): Interval[] {
  const sorted = pieces.toSorted((a, b) => a.offset - b.offset);
  const covered: Interval[] = [];
  for (const { offset, length } of sorted) {
    const last = covered.at(-1);
    if (last !== undefined && offset <= last.to) last.to = Math.max(last.to, offset + length);
    else covered.push({ from: offset, to: offset + length });
  }
  return covered;
}

function layersInLine(layers: readonly BenchLayer[]): {
  starts: Map<string, number>;
  size: number;
} {
  const starts = new Map<string, number>();
  let size = 0;
  for (const layer of layers) {
    if (starts.has(layer.digest)) continue;
    starts.set(layer.digest, size);
    size += layer.size;
  }
  return { starts, size };
}

function factsOf(
  covered: readonly Interval[],
  size: number,
  all: readonly TrafficPiece[],
  drawn: readonly TrafficPiece[],
): string {
  const read = covered.reduce((sum, { from, to }) => sum + to - from, 0);
  const lengthOf = (pieces: readonly TrafficPiece[]): number =>
    pieces.reduce((sum, { length }) => sum + length, 0);
  const besides = lengthOf(all) - lengthOf(drawn);
  const share = `${formatBytes(read)} of ${formatBytes(size)} (${((100 * read) / size).toFixed(0)} %)`;
  return besides === 0 ? share : `${share}, and ${formatBytes(besides)} that is no layer`;
}

function byteTicks(size: number): Tick[] {
  return linearTicks(size, 4, 2).map((bytes) => ({
    at: bytes / size,
    label: bytes === 0 ? '0' : formatBytes(bytes).replace('.0 ', ' '),
  }));
}

function secondsOf(ms: number): string {
  return `${Number((ms / 1000).toPrecision(3))} s`;
}

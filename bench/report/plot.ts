/**
 * The frame of a plot: its axes are text that keeps its size, and the drawing between them is an SVG that is
 * stretched to the room there is. Places in the drawing are thousandths of its width and height, from the top
 * left.
 */

import { type Markup, markup } from './markup.js';

/** A mark on an axis. */
export interface Tick {
  /** 0 to 1, from the left or from the top. */
  at: number;
  label: string;
}

export interface PlotFrame {
  /** What is to be seen, for those who cannot see it. */
  description: string;
  xTicks: readonly Tick[];
  xTitle: string;
  yTicks: readonly Tick[];
  /** Pixels. */
  height: number;
  /** SVG elements. */
  drawing: Markup;
}

export const SIDE = 1000;

export function plot({ description, xTicks, xTitle, yTicks, height, drawing }: PlotFrame): Markup {
  const lines = [
    ...yTicks.map(({ at }) => `M0 ${place(at)}H${SIDE}`),
    ...xTicks.map(({ at }) => `M${place(at)} 0V${SIDE}`),
  ];
  return markup`<div class="plot" style="--height:${height}px">
<div class="y" aria-hidden="true">${yTicks.map(
    ({ at, label }) => markup`<span style="top:${percent(at)}">${label}</span>`,
  )}</div>
<svg viewBox="0 0 ${SIDE} ${SIDE}" preserveAspectRatio="none" role="img"><title>${description}</title>
<path class="grid" d="${lines.join('')}"/>${drawing}</svg>
<div class="x" aria-hidden="true">${xTicks.map(
    ({ at, label }) => markup`<span style="left:${percent(at)}">${label}</span>`,
  )}</div>
<div class="x-title" aria-hidden="true">${xTitle}</div>
</div>`;
}

/** @param at 0 to 1 */
export function place(at: number): number {
  return Math.round(at * SIDE * 10) / 10;
}

/**
 * Round numbers from 0 to `end`, few enough to be read.
 * @param base 10, or 2 for bytes
 */
export function linearTicks(end: number, most: number, base: 2 | 10): number[] {
  if (!(end > 0)) return [0];
  const rough = end / most;
  const power = base ** Math.floor(Math.log(rough) / Math.log(base));
  const steps = base === 2 ? [1, 2] : [1, 2, 5, 10];
  const step = steps.map((factor) => factor * power).find((one) => one >= rough) ?? rough;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, n) => n * step);
}

function percent(at: number): string {
  return `${Math.round(at * 1e4) / 100}%`;
}

/** What stands below a scenario's title, the same in every report. */

import { formatBytes } from '#src/cli/format.js';
import {
  type BenchImage,
  type BenchResult,
  type ScenarioResult,
  isMeasured,
} from '../harness/result.js';

/** What is done, and on what. */
export function scenarioTitle(
  { title, image: name }: ScenarioResult,
  images: readonly BenchImage[],
): string {
  const image = images.find((one) => one.name === name);
  return image === undefined ? title : `${title}: ${image.title}`;
}

/** The image's size, link and rounds, as far as there are such. */
export function scenarioFacts(
  { image: name, link, rows }: ScenarioResult,
  images: readonly BenchImage[],
): string[] {
  const image = images.find((one) => one.name === name);
  const rounds = Math.max(0, ...rows.flatMap(({ runs }) => runs.map(({ round }) => round)));
  return [
    ...(image === undefined ? [] : [imageFact(image)]),
    ...(link === undefined
      ? []
      : [`${link.roundTripMs} ms round trip, ${link.mbitPerSecond} Mbit/s`]),
    `${rounds} ${rounds === 1 ? 'round' : 'rounds'}`,
  ];
}

function sizeOf({ layers }: BenchImage): number {
  return layers.reduce((sum, { size }) => sum + size, 0);
}

/** What explains the numbers, by name. */
export function environmentFacts({ environment: of, startedAt }: BenchResult): [string, string][] {
  return [
    ['date', startedAt.slice(0, 16).replace('T', ' ')],
    ['siphon', of.siphon],
    ['Node', of.node],
    ['system', `${of.system}, Linux ${of.kernel}`],
    ['processor', `${of.processors} × ${of.processor}`],
    ['memory', formatBytes(of.memoryBytes)],
    ['stored on', of.fileSystem],
    ['load average', `${of.loadBefore.toFixed(1)} before, ${of.loadAfter.toFixed(1)} after`],
  ];
}

/** How many runs were measured, and how many do not count. */
export function runCounts({ scenarios }: BenchResult): { measured: number; failed: number } {
  const runs = scenarios.flatMap(({ rows }) => rows.flatMap((row) => row.runs));
  const measured = runs.filter(isMeasured).length;
  return { measured, failed: runs.length - measured };
}

/** Why there is less than was asked for. */
export function troublesOf({ unfinished, troubles }: BenchResult): string[] {
  const cut = unfinished === undefined ? [] : [`Not all of it: ${unfinished}`];
  return [...cut, ...troubles];
}

function imageFact(image: BenchImage): string {
  const { length } = image.layers;
  return `${formatBytes(sizeOf(image))} in ${length} ${length === 1 ? 'layer' : 'layers'}`;
}

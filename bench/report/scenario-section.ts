/** One scenario on the page: its plots, then its numbers, which say the same in words. */

import {
  type BenchResult,
  type MeasuredRun,
  PHASES,
  type ScenarioResult,
  type ScenarioRow,
} from '../harness/result.js';
import {
  type Metric,
  type RowSummary,
  latenciesOf,
  summarizeScenario,
} from '../harness/statistics.js';
import { type Bar, bars } from './bars.js';
import { scenarioFacts, scenarioTitle } from './facts.js';
import { type Latencies, latencyPlot } from './latency-plot.js';
import { layerMap } from './layer-map.js';
import { lookOf } from './looks.js';
import { type Markup, markup } from './markup.js';
import { numbersTable, titleOf } from './numbers.js';
import { anchorOf } from './overview.js';
import { troubleList } from './trouble-list.js';
import { typicalRun } from './typical-run.js';
import { formatMetric, formatMs, formatRatio, formatSummary } from './units.js';

/** A row with a run that was measured. */
interface Shown {
  row: ScenarioRow;
  summary: RowSummary;
  typical: MeasuredRun;
  title: string;
  look: string;
}

export function scenarioSection(scenario: ScenarioResult, result: BenchResult): Markup {
  const all = shownRows(scenario, result);
  const facts = scenarioFacts(scenario, result.images).join(' · ');
  return markup`<section id="${anchorOf(scenario)}"><h2>${scenarioTitle(scenario, result.images)}</h2>
<p class="facts-line">${facts}</p>
<p>${scenario.description}</p>
<div class="charts">
${times(all, titleOf(scenario.baseline, result.contestants))}
${shares(all)}
</div>
${latencies(all, scenario)}
${maps(all, scenario, result)}
${numbers(scenario, result)}
</section>`;
}

function shownRows(scenario: ScenarioResult, { contestants }: BenchResult): Shown[] {
  const summaries = summarizeScenario(scenario);
  return scenario.rows.flatMap((row, n) => {
    const [summary, typical] = [summaries[n], typicalRun(row.runs)];
    if (summary === undefined || typical === undefined) return [];
    const { contestant } = row;
    const [title, look] = [titleOf(contestant, contestants), lookOf(contestant, contestants)];
    return [{ row, summary, typical, title, look }];
  });
}

function times(all: readonly Shown[], baseline: string): Markup | undefined {
  if (all.length === 0) return undefined;
  const hasPhases = all.some(({ typical }) => typical.phases !== undefined);
  const legend = PHASES.map(
    (phase) => markup`<li><span class="swatch ${phase}"></span> ${phase}</li>`,
  );
  return markup`<figure class="wide"><figcaption><h3>Time</h3></figcaption>
${hasPhases ? markup`<ul class="legend" aria-hidden="true">${legend}</ul>` : undefined}
${bars(all.map((one) => timeBar(one, baseline)))}</figure>`;
}

function timeBar({ title, look, summary, typical }: Shown, baseline: string): Bar {
  const { ms } = summary.values;
  const ratio = summary.ratios.ms;
  const time = ms === undefined ? formatMs(typical.ms) : formatSummary(ms, formatMs);
  const share =
    ratio === undefined || title === baseline
      ? ''
      : `, ${formatRatio(ratio.median)} of ${baseline}`;
  const spread = ms === undefined ? {} : { spread: ms };
  const { phases } = typical;
  if (phases === undefined) {
    const parts = [{ value: ms?.median ?? typical.ms, look, title: time }];
    return { name: title, text: `${time}${share}`, parts, ...spread };
  }
  const spelled = PHASES.map((phase) => `${phase} ${formatMs(phases[phase])}`);
  const parts = PHASES.map((phase, n) => ({
    value: phases[phase],
    look: phase,
    title: spelled[n] ?? '',
  }));
  const shown = PHASES.flatMap((phase, n) => (phases[phase] === 0 ? [] : spelled[n]));
  return { name: title, text: `${time}${share}`, parts, ...spread, detail: shown.join(' · ') };
}

/** Of what has no phases. */
const MEDIANS: readonly [Metric, string][] = [
  ['bytes', 'Fetched from the registry'],
  ['requests', 'Requests to the registry'],
  ['pssBytes', 'Memory'],
  ['cpuMs', 'Processor time'],
];

/** Of the sum of a contestant's programs. */
const LEAST_SHOWN = 0.03;

function shares(all: readonly Shown[]): Markup[] {
  return MEDIANS.flatMap(([metric, caption]) => {
    const rows = all.flatMap((one) => metricBar(one, metric) ?? []);
    return rows.length === 0
      ? []
      : [markup`<figure><figcaption><h3>${caption}</h3></figcaption>${bars(rows)}</figure>`];
  });
}

function metricBar({ title, look, summary, typical }: Shown, metric: Metric): Bar | undefined {
  const value = summary.values[metric];
  if (value === undefined) return undefined;
  const text = formatSummary(value, (number) => formatMetric(metric, number));
  const of = { name: title, text, spread: value };
  if (metric !== 'pssBytes' && metric !== 'cpuMs')
    return { ...of, parts: [{ value: value.median, look, title: text }] };
  const uses = usesOf(typical, metric);
  // Every other one is paler, so that neighbours can be told apart.
  const parts = uses.map((use, n) => ({ ...use, look: n % 2 === 0 ? look : `${look} pale` }));
  return { ...of, parts, detail: uses.map((use) => use.title).join(' · ') };
}

/** By program, the largest first; what is too little to be seen is one. */
function usesOf(
  { processes = [] }: MeasuredRun,
  metric: 'pssBytes' | 'cpuMs',
): { value: number; title: string }[] {
  const named = (name: string, value: number) => ({
    value,
    title: `${name} ${formatMetric(metric, value)}`,
  });
  const all = processes
    .map(({ name, peakPssBytes, cpuMs }) => ({
      name,
      value: metric === 'cpuMs' ? cpuMs : peakPssBytes,
    }))
    .toSorted((a, b) => b.value - a.value);
  const total = all.reduce((sum, { value }) => sum + value, 0);
  const shown = all.filter(({ value }) => value > LEAST_SHOWN * total);
  const others = all.slice(shown.length).reduce((sum, { value }) => sum + value, 0);
  const rest = others === 0 ? [] : [named('others', others)];
  return [...shown.map(({ name, value }) => named(name, value)), ...rest];
}

function latencies(all: readonly Shown[], { amount }: ScenarioResult): Markup | undefined {
  const series = all.flatMap(({ row, title, look }): Latencies[] => {
    const times = latenciesOf(row);
    return times.length === 0 ? [] : [{ name: title, look, times }];
  });
  if (series.length === 0) return undefined;
  const what = amount?.unit === 'containers' ? 'start' : 'read';
  return markup`<figure><figcaption><h3>Time of each ${what}</h3></figcaption>${latencyPlot(series, what)}</figure>`;
}

/** Of those who fetched anything: beside each other, over the same time. */
function maps(
  all: readonly Shown[],
  scenario: ScenarioResult,
  { images }: BenchResult,
): Markup | undefined {
  const ordinary = images.find(({ name }) => name === scenario.image)?.layers ?? [];
  const fetching = all.flatMap(({ row, typical, title, look }) => {
    const pieces = typical.traffic?.pieces ?? [];
    const layers = row.layers ?? ordinary;
    return pieces.length === 0 || layers.length === 0
      ? []
      : [{ name: title, look, layers, pieces, endMs: typical.ms }];
  });
  if (fetching.length === 0) return undefined;
  const until = Math.max(...fetching.map(({ endMs }) => endMs));
  return markup`<figure><figcaption><h3>What was read of the layers, and when</h3>
<p class="detail">Layers from left to right, bottom layer first; time downwards. The dashed line is when the container was ready; what comes below is
fetched behind it. The strip shows what was read at all.</p></figcaption>
<div class="maps">${fetching.map((one) => layerMap(one, until))}</div></figure>`;
}

function numbers(scenario: ScenarioResult, { contestants, images }: BenchResult): Markup {
  const { heading, rows, troubles } = numbersTable(scenario, contestants);
  const table = markup`<div class="scroll" tabindex="0" role="region" aria-label="Numbers: ${scenarioTitle(scenario, images)}"><table>
<thead><tr>${heading.map((text) => markup`<th scope="col">${text === '' ? 'who' : text}</th>`)}</tr></thead>
<tbody>${rows.map(
    ([name = '', ...cells]) => markup`
<tr><th scope="row">${name}</th>${cells.map((cell) => markup`<td>${cell}</td>`)}</tr>`,
  )}
</tbody></table></div>`;
  return markup`${rows.length === 0 ? undefined : table}
${troubleList(troubles)}`;
}

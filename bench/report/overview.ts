/** All scenarios at a glance: what share of the baseline's time each contestant takes. */

import type { BenchResult, Contestant, ScenarioResult } from '../harness/result.js';
import { type RowSummary, summarizeScenario } from '../harness/statistics.js';
import { scenarioTitle } from './facts.js';
import { type Markup, markup } from './markup.js';
import { formatMs, formatRatio } from './units.js';

/** A ratio of eight, or of an eighth, has the strongest tint. */
const STRONGEST = Math.log(8);

export function overview(result: BenchResult): Markup | undefined {
  if (result.scenarios.length === 0) return undefined;
  const groups = ofSameContestants(result.scenarios);
  return markup`<section><h2>Overview</h2>
<p>Times as shares of the time of whoever a scenario is compared with: below 1 is faster.</p>
${groups.map((scenarios) => overviewTable(scenarios, result))}</section>`;
}

/** Starts, reads and unpacking have different contestants: each kind is a table of its own. */
function ofSameContestants(scenarios: readonly ScenarioResult[]): ScenarioResult[][] {
  const groups = new Map<string, ScenarioResult[]>();
  for (const scenario of scenarios) {
    const names = scenario.rows.map(({ contestant }) => contestant).join(' ');
    groups.set(names, [...(groups.get(names) ?? []), scenario]);
  }
  return [...groups.values()];
}

function overviewTable(
  scenarios: readonly ScenarioResult[],
  { contestants, images }: BenchResult,
): Markup {
  const taking = contestants.filter(({ name }) =>
    scenarios.some(({ rows }) =>
      rows.some((row) => row.contestant === name && row.runs.length > 0),
    ),
  );
  const titles = scenarios.map((scenario) => scenarioTitle(scenario, images));
  return markup`<div class="scroll" tabindex="0" role="region" aria-label="Overview: ${titles[0]}"><table class="overview">
<thead><tr><th scope="col">scenario</th>${taking.map(({ title }) => markup`<th scope="col">${title}</th>`)}</tr></thead>
<tbody>${scenarios.map((scenario, n) => overviewRow(scenario, titles[n] ?? '', taking))}
</tbody></table></div>`;
}

/** Where a scenario stands on the page. */
export function anchorOf({ name, image, link }: ScenarioResult): string {
  const speed = link === undefined ? [] : [`${link.roundTripMs}-${link.mbitPerSecond}`];
  return [name, ...(image === undefined ? [] : [image]), ...speed]
    .join('-')
    .replace(/[^\w-]+/g, '-');
}

function overviewRow(
  scenario: ScenarioResult,
  title: string,
  taking: readonly Contestant[],
): Markup {
  const summaries = summarizeScenario(scenario);
  return markup`
<tr><th scope="row"><a href="#${anchorOf(scenario)}">${title}</a></th>${taking.map(({ name }) =>
    overviewCell(
      summaries.find(({ contestant }) => contestant === name),
      scenario.baseline === name,
    ),
  )}</tr>`;
}

function overviewCell(summary: RowSummary | undefined, isBaseline: boolean): Markup {
  const [time, ratio] = [summary?.values.ms, summary?.ratios.ms];
  if (time === undefined)
    return markup`<td class="nothing">${(summary?.failedRuns ?? 0) > 0 ? 'failed' : '–'}</td>`;
  if (isBaseline || ratio === undefined) return markup`<td>${formatMs(time.median)}</td>`;
  const strength = Math.min(1, Math.abs(Math.log(ratio.median)) / STRONGEST);
  const look = ratio.median < 1 ? 'faster' : 'slower';
  return markup`<td class="${look}" style="--strength:${strength.toFixed(2)}"><b>${formatRatio(ratio.median)}</b><br><span class="detail">${formatMs(time.median)}</span></td>`;
}

/** A result as text for a terminal: one table for each scenario, then who did not take part and why. */

import { formatTable } from '#src/cli/format.js';
import type { BenchResult, Contestant, ScenarioResult } from '../harness/result.js';
import { environmentFacts, scenarioFacts, scenarioTitle, troublesOf } from './facts.js';
import { numbersTable } from './numbers.js';

/** @returns lines that end with a line feed each */
export function formatResult(result: BenchResult): string {
  const environment = environmentFacts(result).map(([name, value]) => `${name}: ${value}`);
  const parts = [
    ...result.scenarios.map((scenario) => formatScenario(scenario, result)),
    formatSkipped(result.contestants),
    troublesOf(result)
      .map((line) => `! ${line}\n`)
      .join(''),
    `${environment.join('; ')}\n`,
  ];
  return parts.filter((part) => part !== '').join('\n');
}

function formatScenario(scenario: ScenarioResult, { contestants, images }: BenchResult): string {
  const { heading, rows, troubles } = numbersTable(scenario, contestants);
  const right = heading.map((_, column) => column).slice(1);
  const table = rows.length === 0 ? '' : formatTable(heading, rows, { right });
  const facts = scenarioFacts(scenario, images).join('; ');
  return `${scenarioTitle(scenario, images)} (${facts})\n${table}${troubles.map((line) => `! ${line}\n`).join('')}`;
}

function formatSkipped(contestants: readonly Contestant[]): string {
  const rows = contestants.flatMap(({ title, skipped }) =>
    skipped === undefined ? [] : [[title, skipped]],
  );
  return rows.length === 0 ? '' : formatTable(['not here', 'because'], rows);
}

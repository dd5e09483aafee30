/** A result as one HTML page that needs nothing else: no script, no font, no request. */

import type { BenchResult, Contestant } from '../harness/result.js';
import { formatRatio } from './units.js';
import { environmentFacts, runCounts, troublesOf } from './facts.js';
import { type Markup, markup } from './markup.js';
import { overview } from './overview.js';
import { PAGE_STYLE } from './page-style.js';
import { scenarioSection } from './scenario-section.js';
import { troubleList } from './trouble-list.js';

/** @returns the page's text */
export function formatPage(result: BenchResult): string {
  const { measured, failed } = runCounts(result);
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>siphon bench, ${result.startedAt.slice(0, 10)}</title>
<link rel="icon" href="data:,">
<style>${{ html: PAGE_STYLE }}</style>
</head>
<body>
<header>
<h1>siphon bench</h1>
<p>${measured} runs${failed === 0 ? '' : `, and ${failed} that ${failed === 1 ? 'does' : 'do'} not count`}. Repeat them with <code>${result.command}</code></p>
${troubleList(troublesOf(result))}
<dl class="facts">${environmentFacts(result).map(([name, value]) => markup`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
</header>
<main>
${overview(result)}
${result.scenarios.map((scenario) => scenarioSection(scenario, result))}
${contestants(result.contestants)}
${HOW_TO_READ}
</main>
</body>
</html>
`.html;
}

function contestants(all: readonly Contestant[]): Markup {
  return markup`<section><h2>Contestants</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Contestants"><table class="words">
<thead><tr><th scope="col">who</th><th scope="col">programs, or why it is not here</th></tr></thead>
<tbody>${all.map(
    ({ title, versions, skipped }) => markup`
<tr><th scope="row">${title}</th><td>${skipped === undefined ? versionsOf(versions) : markup`<span class="trouble">not here:</span> ${skipped}`}</td></tr>`,
  )}
</tbody></table></div></section>`;
}

function versionsOf(versions: Readonly<Record<string, string>>): string {
  return Object.entries(versions)
    .map(([program, version]) => `${program} ${version}`)
    .join(', ');
}

const HOW_TO_READ = markup`<section><h2>How to read it</h2>
<ul>
<li>The contestants took turns in rounds. A number is the median of all rounds; what stands in parentheses is the
least and the greatest. A line over a bar goes from one to the other.</li>
<li>A ratio is made of two runs of one round, and its median is shown: ${formatRatio(0.5)} is half the time of whoever it is compared with.</li>
<li>Bars with parts, maps and memory by process are of one run, the one in the middle.</li>
<li><b>resolve</b> ends when the manifest is known, <b>index</b> when it is known where files lie in the layers, <b>fetch</b>
when the image is pulled as far as it is before a container starts, and <b>run</b> when that printed the line that was waited for. What is
read lazily belongs to <b>run</b>.</li>
<li>Requests and bytes are counted at a proxy before the registry. Memory is the proportional set size at its highest:
what n processes share counts as an nth. The container's own processes are not in it.</li>
<li>A run that printed something wrong, fell back to another way, or was not lazy though it should have been, does not count; it is listed with the reason.</li>
</ul></section>`;

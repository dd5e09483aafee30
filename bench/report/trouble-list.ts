import { type Markup, markup } from './markup.js';

/** What went wrong, a line each. @returns `undefined` where nothing did */
export function troubleList(lines: readonly string[]): Markup | undefined {
  if (lines.length === 0) return undefined;
  return markup`<ul class="troubles">${lines.map((line) => markup`<li><span class="trouble">!</span> ${line}</li>`)}</ul>`;
}

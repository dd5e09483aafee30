/** Who has which colour and dashes: the same on the whole page. */

import type { Contestant } from '../harness/result.js';

/** As many as the style knows. */
const LOOKS = 8;

/** A CSS class. */
export function lookOf(name: string, contestants: readonly Contestant[]): string {
  const taking = contestants.filter(({ skipped }) => skipped === undefined);
  const at = taking.findIndex((one) => one.name === name);
  return `c${Math.max(0, at) % LOOKS}`;
}

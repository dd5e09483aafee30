/** Times as Go's encoders write them (RFC 3339, section 5.6). Pure. */

import type { PaxTime } from '../pax.js';

const FORM = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/;
const NANOSECOND_DIGITS = 9;

/** Digits past the ninth are cut. `undefined` where `text` is no such time. */
export function parseRfc3339(text: string): PaxTime | undefined {
  const [, whole = '', fraction = '', zone = ''] = FORM.exec(text) ?? [];
  const milliseconds = Date.parse(`${whole}${zone}`);
  if (Number.isNaN(milliseconds)) return undefined;
  const nanoseconds = Number(fraction.slice(0, NANOSECOND_DIGITS).padEnd(NANOSECOND_DIGITS, '0'));
  return { seconds: milliseconds / 1000, nanoseconds };
}

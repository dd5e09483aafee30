/** What one look at the machine found. */
export interface Finding {
  check: string;
  /** `warn`: something will not work, or not as well. `fail`: siphon's service cannot work. */
  result: 'ok' | 'warn' | 'fail';
  /** What was found. */
  detail: string;
  /** What to do about it. */
  advice?: string;
}

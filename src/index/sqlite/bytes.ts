/** What records and pages of SQLite's files are put together of. */

/** Up to so many bytes, a loop is quicker than a call. */
const FEW = 48;

/** Copies the first `length` bytes of `source` to `at` of `target`. */
export function copyBytes(source: Buffer, length: number, target: Buffer, at: number): void {
  if (length > FEW) source.copy(target, at, 0, length);
  else for (let n = 0; n < length; n += 1) target[at + n] = source[n] ?? 0;
}

/**
 * Writes an integer from 0 to 2^53 in 1 to 8 bytes: seven bits in each, from the highest down, with the top bit set in all but
 * the last.
 * @returns where it ends
 */
export function writeVarint(target: Buffer, value: number, at: number): number {
  const end = at + varintLength(value);
  let rest = value;
  for (let place = end - 1; place >= at; place -= 1) {
    target[place] = (rest % 128) | (place === end - 1 ? 0 : 0x80);
    rest = Math.floor(rest / 128);
  }
  return end;
}

export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 128; rest /= 128) length += 1;
  return length;
}

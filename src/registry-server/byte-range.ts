/** The `Range` header of requests (RFC 9110, 14.1 and 14.2), for one range of bytes. */

export type ByteRange =
  | { kind: 'whole' }
  /** Both ends included. */
  | { kind: 'part'; first: number; last: number }
  | { kind: 'unsatisfiable' };

const RANGE = /^bytes\s*=\s*(\d{0,15})\s*-\s*(\d{0,15})$/i;

/**
 * What to send of `size` bytes. Malformed headers, other units and several ranges at once are ignored,
 * as a server may: then the whole is sent.
 */
export function selectRange(header: string | undefined, size: number): ByteRange {
  const match = RANGE.exec(header?.trim() ?? '');
  if (match === null) return { kind: 'whole' };
  const [, from = '', to = ''] = match;
  if (from === '') return to === '' ? { kind: 'whole' } : suffix(Number(to), size);
  const first = Number(from);
  const last = to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (to !== '' && Number(to) < first) return { kind: 'whole' };
  return first < size ? { kind: 'part', first, last } : { kind: 'unsatisfiable' };
}

function suffix(length: number, size: number): ByteRange {
  if (length === 0 || size === 0) return { kind: 'unsatisfiable' };
  return { kind: 'part', first: Math.max(0, size - length), last: size - 1 };
}

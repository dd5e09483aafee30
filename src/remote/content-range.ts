/** The `Content-Range` header (RFC 9110, 14.4). */

export interface ContentRange {
  /** Absent where the range could not be satisfied. */
  range?: { first: number; last: number };
  /** Bytes of the whole; absent where the server does not know. */
  total?: number;
}

const CONTENT_RANGE = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(?:(\d{1,15})|\*)$/;

/** `undefined` where `header` is missing or malformed. */
export function parseContentRange(header: string | undefined): ContentRange | undefined {
  const match = CONTENT_RANGE.exec(header ?? '');
  if (match === null) return undefined;
  const [, first, last, total] = match;
  const size = total === undefined ? {} : { total: Number(total) };
  if (first === undefined) return size;
  const range = { first: Number(first), last: Number(last) };
  return range.first <= range.last ? { range, ...size } : undefined;
}

/** The header that says this. */
export function formatContentRange({ range, total }: ContentRange): string {
  return `bytes ${range === undefined ? '*' : `${range.first}-${range.last}`}/${total ?? '*'}`;
}

/** When the rest of a layer begins to be fetched that is served lazily: seconds from when it is served. */

export type FillAfter = number | 'never';

/** Long enough for a container to start, and for a program that only runs once to be over. */
export const defaultFillAfter = 10;
/** A day. */
export const maxFillAfter = 86_400;

/** As a person writes it; `undefined` where it is no such time. */
export function parseFillAfter(text: string): FillAfter | undefined {
  if (text === 'never') return text;
  const seconds = text === '' ? Number.NaN : Number(text);
  return seconds >= 0 && seconds <= maxFillAfter ? seconds : undefined;
}

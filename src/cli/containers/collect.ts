/** For options that may stand several times. */
export function collect<T = string>(
  // A text as it is, where the caller names no other type.
  parse: (text: string) => T = (text) => text as T,
): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, parse(text)];
}

/**
 * containerd's filter expressions, as List and Walk take them.
 *
 *     filter   = selector { "," selector }          all must match
 *     selector = path [ ( "==" | "!=" | "~=" ) value ]
 *     path     = field { "." field }
 *     field    = word | quoted        word: letters, digits and "_"
 *     value    = quoted | anything up to a comma or white space that does not start with / | .
 *
 * Quoted text is a Go string, `"…"` with its escapes; the pattern of `~=` may also stand between two
 * `/` or `|`. White space may stand before a selector and around an operator.
 */

import { SiphonError, errorMessage } from './errors.js';
import { unquoteGo } from './go-string.js';

/** What can be filtered: things with labels, and other fields by name. */
export interface Filterable {
  readonly labels: Readonly<Record<string, string>>;
}

export type FieldReader<T> = (thing: T, name: string) => string | undefined;

type Filter<T> = (thing: T) => boolean;

/**
 * One predicate for several filters, any of which may match; none of them matches everything.
 * @param read the value of a field; `undefined` where the thing has none
 * @throws SiphonError `invalid` naming the place in the filter
 */
export function parseFilters<T extends Filterable>(
  filters: readonly string[],
  read: FieldReader<T>,
): Filter<T> {
  const parsed = filters.map((text) => parseFilter(text, read));
  if (parsed.length === 0) return () => true;
  return (thing) => parsed.some((matches) => matches(thing));
}

/** The predicate of one filter; an empty text matches everything. */
function parseFilter<T extends Filterable>(text: string, read: FieldReader<T>): Filter<T> {
  const cursor = new Cursor(text);
  const selectors: Filter<T>[] = [];
  if (cursor.atEnd()) return () => true;
  do selectors.push(parseSelector(cursor, read));
  while (cursor.take(/,/y) !== undefined);
  if (!cursor.atEnd()) cursor.fail('expected "," or the end');
  return (thing) => selectors.every((matches) => matches(thing));
}

function parseSelector<T extends Filterable>(cursor: Cursor, read: FieldReader<T>): Filter<T> {
  cursor.take(/\s+/y);
  const path = parsePath(cursor);
  const value = (thing: T): string | undefined => fieldOf(thing, path, read);
  const operator = cursor.take(/\s*[=!~]+\s*/y)?.trim();
  switch (operator) {
    case undefined:
      return (thing) => value(thing) !== undefined;
    case '==': {
      const wanted = parseValue(cursor);
      return (thing) => value(thing) === wanted;
    }
    case '!=': {
      const unwanted = parseValue(cursor);
      return (thing) => (value(thing) ?? '') !== unwanted;
    }
    case '~=': {
      const pattern = parsePattern(cursor);
      return (thing) => pattern.test(value(thing) ?? '');
    }
    default:
      return cursor.fail(`found operator "${operator}", expected "==", "!=" or "~="`);
  }
}

function parsePath(cursor: Cursor): string[] {
  const path = [parseField(cursor)];
  while (cursor.take(/\./y) !== undefined) path.push(parseField(cursor));
  return path;
}

function parseField(cursor: Cursor): string {
  return (
    cursor.quoted() ?? cursor.take(/[A-Za-z0-9_]+/y) ?? cursor.fail('expected the name of a field')
  );
}

function parseValue(cursor: Cursor): string {
  return cursor.quoted() ?? cursor.take(/[^\s,"/|.][^\s,]*/y) ?? cursor.fail('expected a value');
}

function parsePattern(cursor: Cursor): RegExp {
  const delimited = cursor.take(/\/(?:[^/\\]|\\.)*\/|\|(?:[^|\\]|\\.)*\|/y);
  const pattern = delimited === undefined ? parseValue(cursor) : delimited.slice(1, -1);
  try {
    return goPattern(pattern);
  } catch (error) {
    return cursor.fail(`${errorMessage(error)}, expected a regular expression`);
  }
}

/** Go writes flags and named groups in ways of its own: `(?i)…`, `(?P<name>…)`. */
function goPattern(pattern: string): RegExp {
  const [prefix = '', flags = ''] = /^\(\?([ims]+)\)/.exec(pattern) ?? [];
  return new RegExp(pattern.slice(prefix.length).replaceAll('(?P<', '(?<'), flags);
}

function fieldOf<T extends Filterable>(
  thing: T,
  path: readonly string[],
  read: FieldReader<T>,
): string | undefined {
  const [first = '', ...rest] = path;
  if (first === 'labels') return rest.length === 0 ? undefined : ownLabel(thing, rest.join('.'));
  return rest.length > 0 ? undefined : read(thing, first);
}

function ownLabel({ labels }: Filterable, label: string): string | undefined {
  return Object.hasOwn(labels, label) ? labels[label] : undefined;
}

/** A place in the text. */
class Cursor {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  atEnd(): boolean {
    return this.#position === this.#text.length;
  }

  /** Takes what the sticky `pattern` matches here, or nothing. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.#text)?.[0];
    if (match !== undefined) this.#position += match.length;
    return match;
  }

  /** Takes a quoted text and returns what it means. */
  quoted(): string | undefined {
    const start = this.#position;
    const literal = this.take(/"(?:[^"\\\n]|\\.)*"/y);
    if (literal === undefined) return undefined;
    const value = unquoteGo(literal);
    if (value !== undefined) return value;
    this.#position = start;
    return this.fail('expected escapes as Go has them');
  }

  fail(reason: string): never {
    throw new SiphonError(
      'invalid',
      `Cannot read filter "${this.#text}": at character ${this.#position + 1}, ${reason}`,
    );
  }
}

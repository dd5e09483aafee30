/**
 * A JSON document (RFC 8259) taken apart without building it: objects of a large one take ten times the memory of
 * its text. Only the ends of values are looked for here; what each is, JSON.parse says. Pure.
 */

/** Bytes `start` to `end` of a document. */
export interface JsonText {
  start: number;
  end: number;
}

const BYTE = {
  quote: 0x22,
  comma: 0x2c,
  colon: 0x3a,
  openList: 0x5b,
  backslash: 0x5c,
  closeList: 0x5d,
  openObject: 0x7b,
  closeObject: 0x7d,
} as const;
const SPACES: ReadonlySet<number | undefined> = new Set([0x20, 0x09, 0x0a, 0x0d]);

/**
 * The members of the object that `json` is, the last of each name.
 * @throws SyntaxError where it is none; not all that is wrong is found
 */
export function jsonMembers(json: Buffer): ReadonlyMap<string, JsonText> {
  const scan = new Scanner(json, 0);
  const members = new Map<string, JsonText>();
  for (const name of scan.items(BYTE.openObject, BYTE.closeObject)) {
    const key = jsonValue(json, name);
    if (typeof key !== 'string') throw scan.wrong('a name');
    scan.expect(BYTE.colon);
    members.set(key, scan.value());
  }
  scan.finish();
  return members;
}

/**
 * The elements of the list at `at` of `json`.
 * @throws SyntaxError where that is no list, or has something else between its elements
 */
export function* jsonElements(json: Buffer, at: JsonText): Generator<JsonText, undefined> {
  yield* new Scanner(json, at.start).items(BYTE.openList, BYTE.closeList);
  return undefined;
}

export function isJsonList(json: Buffer, at: JsonText): boolean {
  return json[at.start] === BYTE.openList;
}

/** @throws SyntaxError */
export function jsonValue(json: Buffer, { start, end }: JsonText): unknown {
  return JSON.parse(json.toString('utf8', start, end));
}

class Scanner {
  readonly #json: Buffer;
  #at: number;

  constructor(json: Buffer, at: number) {
    this.#json = json;
    this.#at = at;
  }

  /** Values between two brackets; whoever takes one may go on behind it, up to the comma. */
  *items(open: number, close: number): Generator<JsonText, undefined> {
    this.expect(open);
    if (this.#skip(close)) return undefined;
    for (;;) {
      yield this.value();
      if (this.#skip(close)) return undefined;
      this.expect(BYTE.comma);
    }
  }

  /** A value of any kind, from its first byte to its last. */
  value(): JsonText {
    this.#skipSpaces();
    const start = this.#at;
    const first = this.#json[start];
    if (first === BYTE.quote) this.#at = this.#textEnd(start);
    else if (first === BYTE.openObject || first === BYTE.openList) this.#passBrackets();
    else this.#passWord();
    if (this.#at === start) throw this.wrong('a value');
    return { start, end: this.#at };
  }

  expect(byte: number): void {
    if (!this.#skip(byte)) throw this.wrong(`"${String.fromCharCode(byte)}"`);
  }

  /** Nothing follows. */
  finish(): void {
    this.#skipSpaces();
    if (this.#at < this.#json.length) throw this.wrong('the end');
  }

  wrong(expected: string): SyntaxError {
    return new SyntaxError(`something else at byte ${this.#at}, expected ${expected}`);
  }

  #skip(byte: number): boolean {
    this.#skipSpaces();
    if (this.#json[this.#at] !== byte) return false;
    this.#at += 1;
    return true;
  }

  #skipSpaces(): void {
    while (SPACES.has(this.#json[this.#at])) this.#at += 1;
  }

  /** Where the text ends that begins at `start`. */
  #textEnd(start: number): number {
    const json = this.#json;
    for (let at = start + 1; at < json.length; at += 1) {
      const byte = json[at];
      if (byte === BYTE.quote) return at + 1;
      if (byte === BYTE.backslash) at += 1;
    }
    throw this.wrong('a text that ends');
  }

  #passBrackets(): void {
    const json = this.#json;
    let depth = 0;
    for (let at = this.#at; at < json.length; at += 1) {
      const byte = json[at];
      if (byte === BYTE.quote) at = this.#textEnd(at) - 1;
      else if (byte === BYTE.openObject || byte === BYTE.openList) depth += 1;
      else if (byte === BYTE.closeObject || byte === BYTE.closeList) depth -= 1;
      if (depth > 0) continue;
      this.#at = at + 1;
      return;
    }
    throw this.wrong('a value that ends');
  }

  /** A number, or a word. */
  #passWord(): void {
    while (/[-+.\w]/.test(String.fromCharCode(this.#json[this.#at] ?? 0))) this.#at += 1;
  }
}

/** Go's interpreted string literals (Go specification, "String literals"), as containerd's filters have them. */

const simpleEscapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  '"': '"',
};

const escape =
  /\\(?:([abfnrtv\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([^]?))/g;

/** What a literal with its quotes means, or `undefined` where an escape is none of Go's. */
export function unquoteGo(literal: string): string | undefined {
  const body = literal.slice(1, -1);
  const parts: Buffer[] = [];
  let end = 0;
  for (const match of body.matchAll(escape)) {
    const meaning = unescape(match);
    if (meaning === undefined) return undefined;
    parts.push(Buffer.from(body.slice(end, match.index)), meaning);
    end = match.index + match[0].length;
  }
  return Buffer.concat([...parts, Buffer.from(body.slice(end))]).toString();
}

/** Bytes rather than characters: `\x` and octal escapes may spell UTF-8 one byte at a time. */
function unescape(match: RegExpExecArray): Buffer | undefined {
  const [, simple, hex, octal, short, long] = match;
  if (simple !== undefined) return Buffer.from(simpleEscapes[simple] ?? '');
  if (hex !== undefined) return Buffer.of(Number.parseInt(hex, 16));
  if (octal !== undefined) return byte(Number.parseInt(octal, 8));
  const codePoint = Number.parseInt(short ?? long ?? '', 16);
  const surrogate = codePoint >= 0xd800 && codePoint <= 0xdfff;
  if (Number.isNaN(codePoint) || codePoint > 0x10ffff || surrogate) return undefined;
  return Buffer.from(String.fromCodePoint(codePoint));
}

function byte(value: number): Buffer | undefined {
  return value > 0xff ? undefined : Buffer.of(value);
}

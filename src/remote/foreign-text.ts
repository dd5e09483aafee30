/**
 * The one way by which a server's words get into a message. A server may quote what it was asked: credentials, and
 * URLs that whoever knows them may use. What is known to be secret is taken out, and what looks like it; what
 * is left is one printable line.
 */

import { HIDDEN, withoutAnySecret } from '../common/secrets.js';

/** Longest text of a server that goes into a message, in characters. */
const MAX_TEXT = 200;
/** How much of it is looked at: patterns take the square of it. */
const MAX_LOOKED_AT = 2048;

const LOOKS: readonly (readonly [RegExp, string])[] = [
  // Queries and fragments of URLs, whole or relative, and the user before a host.
  [/\?[^\s"'<>]+/g, `?${HIDDEN}`],
  [/(:\/\/[^\s"'<>#]{1,200})#[^\s"'<>]*/g, '$1'],
  [/\/\/[^\s/?#@"'<>]{1,200}@/g, `//${HIDDEN}@`],
  [/(?<![^\s/@:"'<>])[^\s/@:"'<>]+:[^\s/@:"'<>]+@(?!sha\d+:)/g, `${HIDDEN}@`],
  // A login as it is sent, a JSON web token, and fields by their names.
  [/\b(basic|bearer|token|aws4-hmac-sha256)\s+(?=\S*[\d=+/_])[^\s"'<>,;]{8,}/gi, `$1 ${HIDDEN}`],
  [/\beyJ[\w-]{8,}(?:\.[\w-]+)*/g, HIDDEN],
  [
    /((?:sig|token|secret|key|pass|pwd|credential|auth|policy|session)[\w-]{0,20}(?:=|["']\s?:\s?["']))[^\s"',;&<>]+/gi,
    `$1${HIDDEN}`,
  ],
  // Long runs without words in them; digests tell nothing.
  [/(?<![\w:+/-])(?=[\w+/-]*[a-z])(?=[\w+/-]*[A-Z])(?=[\w+/-]*\d)[\w+/-]{24,}={0,2}/g, HIDDEN],
  [/(?<![\w:-])[0-9a-f]{32,}(?!\w)/gi, HIDDEN],
];

/** `text` as it may be shown, in part where it is long. */
export function foreignText(text: string): string {
  let shown = withoutAnySecret(text).slice(0, MAX_LOOKED_AT);
  for (const [look, instead] of LOOKS) shown = shown.replaceAll(look, instead);
  return shown.replaceAll(/[^\x20-\x7e…]+/g, ' ').slice(0, MAX_TEXT);
}

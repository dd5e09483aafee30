/**
 * What lets siphon in somewhere, as far as this process has used it: passwords, tokens, signatures of URLs. It is
 * remembered where it is sent, so that no error and no line of the log shows it, whoever quotes it.
 */

/** Secrets that are remembered; those not used for the longest time go first. */
const MAX_SECRETS = 512;
/** Shorter ones may be ordinary words; only what others say is searched for them. */
const TELLING_LENGTH = 8;

export const HIDDEN = '…';

/** How each may be written; used last is last. */
const secrets = new Map<string, readonly string[]>();
/** All that is looked for, the longest first, since one may be part of another; absent when it has changed. */
let wanted: readonly string[] | undefined;

/** From now on `text` is shown by nothing that asks here; empty text is no secret. */
export function rememberSecret(text: string): void {
  if (text === '') return;
  const known = secrets.get(text);
  secrets.delete(text);
  secrets.set(text, known ?? formsOf(text));
  if (known !== undefined) return;
  wanted = undefined;
  const [oldest] = secrets.keys();
  if (secrets.size > MAX_SECRETS && oldest !== undefined) secrets.delete(oldest);
}

/** `text` of our own, without secrets that are long enough to be none of its words. */
export function withoutSecrets(text: string): string {
  let shown = text;
  for (const form of allForms()) {
    if (form.length < TELLING_LENGTH) break;
    if (shown.includes(form)) shown = shown.replaceAll(form, HIDDEN);
  }
  return shown;
}

/** `text` of somebody else's, without any secret; short ones where they stand alone. */
export function withoutAnySecret(text: string): string {
  const short = allForms().filter(({ length }) => length < TELLING_LENGTH);
  let shown = withoutSecrets(text);
  for (const form of short) {
    const literal = form.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);
    shown = shown.replaceAll(new RegExp(String.raw`(?<!\w)${literal}(?!\w)`, 'g'), HIDDEN);
  }
  return shown;
}

function allForms(): readonly string[] {
  wanted ??= [...new Set([...secrets.values()].flat())].toSorted((a, b) => b.length - a.length);
  return wanted;
}

/** As it is, in a URL, in a form, and in JSON. */
function formsOf(secret: string): string[] {
  const form = new URLSearchParams({ '': secret }).toString().slice(1);
  const url = encodeURIComponent(Buffer.from(secret).toString('utf8')); // without lone surrogates
  const json = JSON.stringify(secret).slice(1, -1);
  return [...new Set([secret, url, form, json])];
}

/**
 * What lets siphon in somewhere, as far as this process has used it: passwords, tokens, signatures of URLs. It is
 * remembered where it is sent, so that no error and no line of the log shows it, whoever quotes it.
 */

/** Secrets that are remembered; those not used for the longest time go first. */
const MAX_SECRETS = 512;
/** Shorter ones may be ordinary words; only what others say is searched for them. */
const TELLING_LENGTH = 8;
/** Shorter ones may be words or numbers all the same: what they are part of is left. */
const UNLIKELY_WORD = 12;

export const HIDDEN = '…';

/** How each may be written; used last is last. */
const secrets = new Map<string, readonly string[]>();
/** All that is looked for, the longest first, since one may be part of another; absent when it has changed. */
let wanted: readonly Form[] | undefined;

/** What is looked for; the patterns are of what may be a word. */
interface Form {
  form: string;
  /** In text of our own. */
  alone?: RegExp;
  /** In text of others. */
  apart?: RegExp;
}

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

/** `text` of our own, without secrets; without those that may be words only where they stand alone. */
export function withoutSecrets(text: string): string {
  let shown = text;
  for (const { form, alone } of allForms()) {
    if (form.length < TELLING_LENGTH) break;
    if (shown.includes(form)) shown = shown.replaceAll(alone ?? form, HIDDEN);
  }
  return shown;
}

/** `json` with no secret in its strings; its names and numbers are our own. */
export function withoutSecretsInJson(json: string): string {
  return json.replaceAll(/"(?:[^"\\]|\\.)*"(:?)/g, (quoted, colon: string) => {
    if (colon !== '') return quoted;
    const text = JSON.parse(quoted) as string; // a string by the pattern
    const shown = withoutSecrets(text);
    return shown === text ? quoted : JSON.stringify(shown);
  });
}

/** `text` of somebody else's, without any secret; those that may be words wherever they are no part of one. */
export function withoutAnySecret(text: string): string {
  let shown = text;
  for (const { form, apart } of allForms()) {
    if (shown.includes(form)) shown = shown.replaceAll(apart ?? form, HIDDEN);
  }
  return shown;
}

function allForms(): readonly Form[] {
  wanted ??= [...new Set([...secrets.values()].flat())]
    .toSorted((a, b) => b.length - a.length)
    .map(sought);
  return wanted;
}

/** Names of hosts and paths, and a word before its colon, are made of words that do not stand alone. */
function sought(form: string): Form {
  if (form.length >= UNLIKELY_WORD) return { form };
  const literal = form.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);
  const [before, after] = [/^\w/.test(form), /\w$/.test(form)];
  const between = (left: string, right: string): RegExp =>
    new RegExp(`${before ? left : ''}${literal}${after ? right : ''}`, 'g');
  return {
    form,
    alone: between(String.raw`(?<![\w./-])`, String.raw`(?![\w/-]|[.:]\w)`),
    apart: between(String.raw`(?<!\w)`, String.raw`(?!\w)`),
  };
}

/** As it is, in a URL, in a form, and in JSON. */
function formsOf(secret: string): string[] {
  const form = new URLSearchParams({ '': secret }).toString().slice(1);
  const url = encodeURIComponent(Buffer.from(secret).toString('utf8')); // without lone surrogates
  const json = JSON.stringify(secret).slice(1, -1);
  return [...new Set([secret, url, form, json])];
}

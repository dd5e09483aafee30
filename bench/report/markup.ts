/** HTML as text: what is put into it is escaped, unless it is markup already. */

/** Markup that needs no escaping any more. */
export interface Markup {
  readonly html: string;
}

type Part = Markup | string | number | readonly Part[] | undefined;

/** A template's own text is markup; strings in it are text, lists of parts follow one another. */
export function markup(texts: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  const html = texts.map((text, n) => (n === 0 ? text : `${render(parts[n - 1])}${text}`));
  return { html: html.join('') };
}

/** Keeps a number and its unit on one line. */
export function unbroken(text: string): string {
  return text.replace(/(\d) (?=[µa-zA-Z%])/g, '$1\u00a0');
}

function render(part: Part): string {
  if (part === undefined) return '';
  if (typeof part === 'number') return String(part);
  if (typeof part === 'string') return escape(part);
  return isList(part) ? part.map(render).join('') : part.html;
}

/** `Array.isArray` does not see lists that are read-only. */
function isList(part: Markup | readonly Part[]): part is readonly Part[] {
  return Array.isArray(part);
}

function escape(text: string): string {
  const names: Record<string, string> = { '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' };
  return text.replace(/[&<>"]/g, (sign) => `&${names[sign] ?? ''};`);
}

/** Where an image comes from, as written on a command line: skopeo's transports, and bare layer tars. */

import { SiphonError } from '../common/errors.js';
import { type Reference, formatReference, parseReference } from '../remote/reference.js';

export type Source =
  | { kind: 'registry'; reference: Reference }
  | { kind: 'oci-layout'; path: string; ref?: string }
  | { kind: 'oci-archive'; path: string; ref?: string }
  /** `ref` is a `name:tag` of the archive, or `@N` for its image number N from 0. */
  | { kind: 'docker-archive'; path: string; ref?: string }
  | { kind: 'tar-file'; path: string }
  | { kind: 'tar-url'; url: string };

const fileTransports = {
  oci: 'oci-layout',
  'oci-archive': 'oci-archive',
  'docker-archive': 'docker-archive',
} as const;
const TAR_NAME = /\.(?:tar|tar\.gz|tgz|tar\.zst|tzst)$/;

/**
 * Reads a source without touching disk or network. What starts with `/`, `./` or `../` or ends like a
 * tar is a path; `docker://` takes away the doubt.
 * @throws SiphonError `usage`
 */
export function parseSource(text: string): Source {
  if (/^https?:\/\//i.test(text)) return { kind: 'tar-url', url: parseTarUrl(text) };
  if (text.startsWith('docker://')) {
    return { kind: 'registry', reference: parseReference(text.slice('docker://'.length)) };
  }
  const transport = /^([a-z-]+):(.*)$/s.exec(text);
  if (transport !== null) {
    const [, name = '', rest = ''] = transport;
    if (isFileTransport(name)) return fileSource(fileTransports[name], text, rest);
  }
  if (/^\.{0,2}\//.test(text) || TAR_NAME.test(text)) return { kind: 'tar-file', path: text };
  return { kind: 'registry', reference: parseReference(text) };
}

/** The source in words for messages; a URL without user and query. */
export function formatSource(source: Source): string {
  switch (source.kind) {
    case 'registry':
      return formatReference(source.reference);
    case 'tar-file':
      return source.path;
    case 'tar-url':
      return formatUrl(source.url);
    case 'oci-layout':
      return `oci:${withRef(source)}`;
    case 'oci-archive':
    case 'docker-archive':
      return `${source.kind}:${withRef(source)}`;
  }
}

/** @throws SiphonError `usage` where the source is no image in a registry, which `purpose` needs */
export function requireRegistry(source: Source, purpose: string): Reference {
  if (source.kind === 'registry') return source.reference;
  throw new SiphonError(
    'usage',
    `Cannot ${purpose} from "${formatSource(source)}": expected an image in a registry`,
  );
}

/** A URL as it may be shown. */
export function formatUrl(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

function isFileTransport(name: string): name is keyof typeof fileTransports {
  return Object.hasOwn(fileTransports, name);
}

/** As skopeo does, the first colon ends the path. */
function fileSource(
  kind: (typeof fileTransports)[keyof typeof fileTransports],
  text: string,
  rest: string,
): Source {
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  const ref = colon < 0 ? '' : rest.slice(colon + 1);
  if (path === '') {
    throw new SiphonError('usage', `Cannot read source "${text}": no path, expected PATH[:REF]`);
  }
  return { kind, path, ...(ref === '' ? {} : { ref }) };
}

function parseTarUrl(text: string): string {
  if (URL.canParse(text)) return new URL(text).href;
  throw new SiphonError('usage', 'Cannot read source: malformed URL, expected http(s)://HOST/PATH');
}

function withRef(source: { path: string; ref?: string }): string {
  return source.ref === undefined ? source.path : `${source.path}:${source.ref}`;
}

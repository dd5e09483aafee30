/** Paths of tar entries as byte strings: lexical operations only. */

import type { ByteString } from './tar-header.js';

/** NAME_MAX and PATH_MAX of Linux. */
export const MAX_NAME = 255;
export const MAX_PATH = 4096;
/** Most names from the root to an entry: each takes two bytes of its path. */
export const MAX_DEPTH = MAX_PATH / 2;

/**
 * The components of `path` seen from the root: no empty ones, no `.`; `..` goes up lexically and stops
 * at the root.
 */
export function components(path: ByteString): ByteString[] {
  const clean: ByteString[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') clean.pop();
    else clean.push(part);
  }
  return clean;
}

/** A file's directory, and its name there; the root has none. */
export interface SplitPath {
  /** Empty for the root. Of a path that begins there (`/a`, `../a`), with a slash in front. */
  directory: ByteString;
  name: ByteString | undefined;
}

/** A path from its first name to its last one, with nothing to clean but a slash at the end. */
const CLEAN = /^(?!\.{1,2}(?:\/|$))[^/]+(?:\/(?!\.{1,2}(?:\/|$))[^/]+)*\/?$/;

/** Cleans the path of an entry as {@link components} does. */
export function splitPath(path: ByteString): SplitPath {
  if (CLEAN.test(path)) {
    const end = path.endsWith('/') ? path.length - 1 : path.length;
    const slash = path.lastIndexOf('/', end - 1);
    return { directory: path.slice(0, Math.max(slash, 0)), name: path.slice(slash + 1, end) };
  }
  const names = components(path);
  const name = names.pop();
  const isFromRoot = names.length > 0 && (path.startsWith('/') || path.startsWith('../'));
  return { directory: `${isFromRoot ? '/' : ''}${names.join('/')}`, name };
}

/** The root and all directories down to the one at `path`, which is clean: `a/b` → `''`, `a`, `a/b`. */
export function withParents(path: ByteString): ByteString[] {
  const names = path === '' ? [] : path.split('/');
  return ['', ...names.map((_, n) => names.slice(0, n + 1).join('/'))];
}

export function toBytes(text: ByteString): Buffer {
  return Buffer.from(text, 'latin1');
}

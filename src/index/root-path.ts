/**
 * Where a path leads inside a tree's root, symlinks followed as containerd follows them before it unpacks an
 * entry (`fs.RootPath` of its module continuity), the odd ways of it included:
 *
 * - The path is gone through from the left, again and again until no link is on it. What a link is replaced by
 *   is not looked into before the next time; what follows it is found as lstat(2) finds it.
 * - `..` is taken off the path as it is written by then, not off where links lead to, unless it stands in
 *   the target of a last link, which is kept as it is for the next time.
 *
 * Without links in the targets of links all ways are the same. Pure; costs a look-up for each name and link.
 */

import { SiphonError } from '../common/errors.js';
import { type SplitPath, components, splitPath } from './byte-path.js';
import type { ByteString } from './tar-header.js';

/** As containerd limits it; a loop of links ends there. */
const MAX_LINKS = 255;

/**
 * Target of the symlink at a path of names, as lstat(2) and readlink(2) say; `undefined` where there is something
 * else or nothing. What they refuse is thrown.
 */
export type LinkReader = (path: readonly ByteString[]) => ByteString | undefined;

/**
 * The names of `path` from the root on, where no symlink is left; not all of them need exist.
 * @throws SiphonError `invalid` for more than 255 links; and whatever `linkAt` throws
 */
export function rootPath(path: ByteString, linkAt: LinkReader): ByteString[] {
  let links = 0;
  const counting: LinkReader = (names) => {
    if (links > MAX_LINKS)
      throw new SiphonError(
        'invalid',
        `Cannot follow path: it leads through more than ${MAX_LINKS} symlinks`,
      );
    const target = linkAt(names);
    if (target !== undefined) links += 1;
    return target;
  };
  for (let next = path; ;) {
    const led = walkOnce(next, counting);
    if (typeof led !== 'string') return led;
    next = led;
  }
}

/**
 * Where the target of a hard link is, of which the last name is not followed, unless it is none: `l/` and `l/.`
 * are what the link `l` leads to. There may be links on the way to the directory.
 */
export function hardLinkPath(target: ByteString, linkAt: LinkReader): SplitPath {
  const slash = target.lastIndexOf('/');
  const name = target.slice(slash + 1);
  if (name !== '' && !target.includes('..') && name !== '.') return splitPath(target);
  const above = rootPath(target.slice(0, slash + 1), linkAt);
  const names = components(`${above.join('/')}/${name}`);
  const last = names.pop();
  return { directory: names.join('/'), name: last };
}

/** @returns its names where no link was on it; else the path that it was replaced by */
function walkOnce(path: ByteString, linkAt: LinkReader): ByteString[] | ByteString {
  let at: ByteString[] = [];
  let led: ByteString | undefined;
  let isFirst = !path.startsWith('/');
  for (const name of path.split('/')) {
    if (name === '') continue;
    const here = isPlain(name) ? [...at, name] : components(`${at.join('/')}/${name}`);
    const target = here.length === 0 ? undefined : linkAt(here);
    if (target !== undefined) {
      const isWhole = isFirst || target.startsWith('/');
      led = isWhole ? target : `${at.join('/')}/${target}`;
      at = components(led);
      if (!isWhole) led = `/${at.join('/')}`;
    } else {
      at = here;
      if (led !== undefined) led = `/${at.join('/')}`;
    }
    isFirst = false;
  }
  return led ?? at;
}

function isPlain(name: ByteString): boolean {
  return name !== '.' && name !== '..';
}

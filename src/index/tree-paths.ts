/**
 * Paths of tar entries in the tree that grows. Most lead straight down; what has a symlink on it is resolved
 * as containerd does it ({@link rootPath}). Where directories were found is remembered, so that a path costs
 * a look-up for each of its names at most; what links cost beside that is limited for the layer as a whole,
 * for a few of them can make one path of thousands.
 */

import { SiphonError } from '../common/errors.js';
import { MAX_NAME, MAX_PATH, components } from './byte-path.js';
import { rootIno } from './layer-model.js';
import { isDirectory, isSymlink } from './modes.js';
import { hardLinkPath, rootPath } from './root-path.js';
import type { Child, GrowingTree } from './growing-tree.js';
import { type ByteString, printable } from './tar-header.js';

/** As far as a path exists. */
export interface Place {
  /** The last directory that exists. */
  ino: number;
  /** Names that are missing below it. */
  missing: readonly ByteString[];
  /** Bytes of the whole path from the root, without symlinks; missing names count. */
  length: number;
}

/** Paths whose directory is remembered. */
const MAX_REMEMBERED = 4096;
/** Symlinks that the kernel follows on the way to one file. */
const MAX_NESTED_LINKS = 40;
/** Look-ups because of symlinks: so many, and so many more for each path that is asked for. */
const BYTES_PER_LOOKUP = 16;
const LOOKUPS = { atFirst: 1 << 20, perPath: 64 } as const;

export class TreePaths {
  readonly #tree: GrowingTree;
  /** Directory of each path seen lately. */
  readonly #remembered = new Map<ByteString, Place>();
  /** The last one of these; entries of one directory follow one another. */
  #last: { path: ByteString; place: Place } | undefined;
  /** The same for paths that may have links on them, as the kernel takes them. */
  readonly #behindLinks = new Map<ByteString, number>();
  #paths = 0;
  #lookups = 0;

  constructor(tree: GrowingTree) {
    this.#tree = tree;
  }

  /** Has to be called when a directory or symlink goes. */
  forget(): void {
    this.#remembered.clear();
    this.#last = undefined;
    this.#behindLinks.clear();
  }

  /**
   * @throws SiphonError `invalid` where it leads through a file, too many links, or to more than PATH_MAX bytes
   */
  find(path: ByteString): Place {
    if (this.#last?.path === path) return this.#last.place;
    const place = this.#remembered.get(path) ?? this.#search(path);
    this.#last = place.missing.length === 0 ? { path, place } : undefined;
    return place;
  }

  #search(path: ByteString): Place {
    this.#paths += 1;
    const place =
      this.#follow(components(path)) ?? this.#follow(rootPath(path, (at) => this.#linkAt(at)));
    if (place === undefined) throw new Error(`Links are left on "${printable(path)}"`);
    if (place.missing.length === 0) remember(this.#remembered, path, place);
    return place;
  }

  /**
   * What the target of a hard link names; its last name is not followed.
   * @throws SiphonError `invalid`, as {@link find}
   */
  linked(target: ByteString): Child | undefined {
    const { directory, name } = hardLinkPath(target, (at) => this.#linkAt(at));
    if (name === undefined) return this.#tree.node(rootIno);
    const { ino, missing } = this.find(directory);
    return missing.length > 0 ? undefined : this.#tree.find(ino, name);
  }

  /** `undefined` where a symlink is on the way. */
  #follow(names: readonly ByteString[]): Place | undefined {
    const length = checkedLength(names);
    let ino = rootIno;
    for (const [at, name] of names.entries()) {
      const child = this.#tree.find(ino, name);
      if (child === undefined) return { ino, missing: names.slice(at), length };
      if (isSymlink(child.mode)) return undefined;
      if (!isDirectory(child.mode)) throw notDirectory(names.slice(0, at + 1));
      ino = child.ino;
    }
    return { ino, missing: [], length };
  }

  /** As lstat(2) and readlink(2). */
  #linkAt(names: readonly ByteString[]): ByteString | undefined {
    checkedLength(names);
    const parent = this.#behind(names.slice(0, -1));
    const child = parent === undefined ? undefined : this.#find(parent, names.at(-1) ?? '');
    return child !== undefined && isSymlink(child.mode) ? this.#target(child) : undefined;
  }

  /** The directory that the kernel finds at a path; none where links lead out of the tree. */
  #behind(names: readonly ByteString[]): number | undefined {
    const key = names.join('/');
    const remembered = this.#behindLinks.get(key);
    if (remembered !== undefined) return remembered;
    const found = this.#lookUp(names);
    if (found !== undefined) remember(this.#behindLinks, key, found);
    return found;
  }

  #lookUp(names: readonly ByteString[]): number | undefined {
    const above: number[] = [];
    const rest = names.toReversed();
    let ino = rootIno;
    let links = 0;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        const parent = above.pop();
        if (parent === undefined) return undefined;
        ino = parent;
        continue;
      }
      const child = this.#find(ino, name);
      if (child === undefined) return undefined;
      if (isSymlink(child.mode)) {
        if (++links > MAX_NESTED_LINKS) throw tooManyLinks();
        const target = this.#target(child);
        if (target.startsWith('/')) return undefined;
        for (const part of target.split('/').toReversed()) rest.push(part);
      } else if (isDirectory(child.mode)) {
        above.push(ino);
        ino = child.ino;
      } else {
        throw notDirectory(names);
      }
    }
    return ino;
  }

  #find(parent: number, name: ByteString): Child | undefined {
    this.#spend(1);
    return this.#tree.find(parent, name);
  }

  /** Long ones take as long as some look-ups. */
  #target(link: Child): ByteString {
    const target = this.#tree.target(link.ino);
    this.#spend(target.length / BYTES_PER_LOOKUP);
    return target;
  }

  #spend(lookups: number): void {
    this.#lookups += lookups;
    const limit = LOOKUPS.atFirst + LOOKUPS.perPath * this.#paths;
    if (this.#lookups <= limit) return;
    throw new SiphonError(
      'invalid',
      `Cannot follow path: the symlinks on this and earlier paths took ${limit} look-ups, expected fewer`,
    );
  }
}

function remember<T>(places: Map<ByteString, T>, path: ByteString, place: T): void {
  if (places.size >= MAX_REMEMBERED) places.clear();
  places.set(path, place);
}

function checkedLength(names: readonly ByteString[]): number {
  let length = Math.max(names.length - 1, 0);
  for (const name of names) {
    length += name.length;
    if (name.length > MAX_NAME)
      throw new SiphonError(
        'invalid',
        `Cannot follow path: a name in it has ${name.length} bytes, expected at most ${MAX_NAME}`,
      );
  }
  if (length > MAX_PATH)
    throw new SiphonError(
      'invalid',
      `Cannot follow path: it has ${length} bytes, expected at most ${MAX_PATH}`,
    );
  return length;
}

function notDirectory(names: readonly ByteString[]): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot follow path: "${printable(names.join('/').slice(0, 512))}" is a file, expected a directory`,
  );
}

function tooManyLinks(): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot follow path: it leads through more than ${MAX_NESTED_LINKS} nested symlinks`,
  );
}

/**
 * From tar entries to a tree, by the rules that containerd's `archive.Apply` follows, with whiteouts in
 * overlayfs' form. Names are cleaned; symlinks in the parent part are followed inside the root; missing
 * parents are made; an existing path goes unless both are directories; the last of duplicates wins.
 *
 * The root's own entry gives the root its attributes, as umoci does it.
 */

import { SiphonError } from '../common/errors.js';
import { MAX_NAME, MAX_PATH, components, linkTarget, splitPath } from './byte-path.js';
import { rootIno } from './layer-model.js';
import { S_IF, isDirectory, isRegular, isSymlink } from './modes.js';
import { HAS_WHITEOUTS_XATTR, OPAQUE_XATTR, keepsXattr, meaningOf } from './overlay-form.js';
import { type Child, IMPLICIT_DIRECTORY, type NewNode, type StagingTree } from './staging.js';
import type { EntryType, TarEntry } from './tar-entry.js';
import { type ByteString, printable } from './tar-header.js';

/** As containerd and the kernel's users limit it; a loop of links ends there. */
const MAX_SYMLINKS = 255;
/** Parent paths whose directory is remembered. */
const MAX_REMEMBERED = 4096;
/** XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux. */
const MAX_XATTR_NAME = 255;
const MAX_XATTR_SIZE = 65536;

const MODE_OF: Record<Exclude<EntryType, 'hardlink'>, number> = {
  file: S_IF.REG,
  directory: S_IF.DIR,
  symlink: S_IF.LNK,
  character: S_IF.CHR,
  block: S_IF.BLK,
  fifo: S_IF.IFO,
};

export class TreeBuilder {
  readonly #tree: StagingTree;
  /** Directory of each parent path seen lately; emptied when a directory or symlink goes. */
  readonly #remembered = new Map<ByteString, number>();
  #hasRootEntry = false;

  constructor(tree: StagingTree) {
    this.#tree = tree;
  }

  get hasRootEntry(): boolean {
    return this.#hasRootEntry;
  }

  /**
   * Applies one entry whose content begins at tar offset `dataOffset`.
   * @throws SiphonError `invalid` where containerd could not create it either
   */
  add(entry: TarEntry, dataOffset: number): void {
    if (entry.path.length > MAX_PATH)
      throw cannot(entry, `its path has ${entry.path.length} bytes, expected at most ${MAX_PATH}`);
    const { directory, name } = splitPath(components(entry.path));
    if (name === undefined) {
      this.#addRoot(entry);
      return;
    }
    const parent = this.#parentDirectory(directory, entry);
    const meaning = meaningOf(name);
    switch (meaning.kind) {
      case 'opaque':
        this.#tree.setXattr(parent, OPAQUE_XATTR.name, OPAQUE_XATTR.value);
        break;
      case 'whiteout':
        this.#addWhiteout(parent, meaning.hidden, entry);
        break;
      case 'plain':
        this.#addPlain(parent, name, entry, dataOffset);
    }
  }

  /** Only a directory can be the root; other entries of that name say nothing. */
  #addRoot(entry: TarEntry): void {
    if (entry.type !== 'directory') return;
    this.#hasRootEntry = true;
    this.#describe(rootIno, entry, S_IF.DIR);
  }

  #addPlain(parent: number, name: ByteString, entry: TarEntry, dataOffset: number): void {
    checkName(name, entry);
    const existing = this.#tree.find(parent, name);
    if (existing !== undefined) {
      if (entry.type === 'directory' && isDirectory(existing.mode)) {
        this.#describe(existing.ino, entry, S_IF.DIR);
        return;
      }
      this.#remove(parent, name, existing);
    }
    if (entry.type === 'hardlink') {
      this.#addLink(parent, name, entry);
      return;
    }
    if (entry.type === 'symlink') checkTarget(entry);
    const ino = this.#tree.add(parent, name, newNode(entry, MODE_OF[entry.type], dataOffset));
    if (entry.pieces !== undefined) this.#tree.setExtents(ino, entry.pieces, dataOffset);
    this.#setXattrs(ino, entry, MODE_OF[entry.type]);
  }

  /** The header of a hard link describes its file anew. */
  #addLink(parent: number, name: ByteString, entry: TarEntry): void {
    const target = this.#linkedFile(entry);
    if (isDirectory(target.mode))
      throw cannot(
        entry,
        `it is a hard link to the directory "${printable(entry.linkPath)}", expected a file`,
      );
    this.#tree.link(parent, name, target.ino);
    this.#describe(target.ino, entry, target.mode & S_IF.MT);
  }

  /** The last component of a hard link's target is not followed. */
  #linkedFile(entry: TarEntry): Child {
    const { directory, name } = splitPath(components(entry.linkPath));
    const parent = this.#walk(directory, entry);
    const target =
      parent.missing.length === 0 && name !== undefined
        ? this.#tree.find(parent.ino, name)
        : undefined;
    if (target === undefined)
      throw cannot(
        entry,
        `its target "${printable(entry.linkPath)}" is not there, expected an earlier entry`,
      );
    return target;
  }

  /** A name that the layer itself has hides the lower one anyway; only a directory would merge. */
  #addWhiteout(parent: number, hidden: ByteString, entry: TarEntry): void {
    checkName(hidden, entry);
    const existing = this.#tree.find(parent, hidden);
    if (existing === undefined) {
      const whiteout: TarEntry = {
        ...entry,
        type: 'character',
        mode: 0,
        size: 0,
        devMajor: 0,
        devMinor: 0,
      };
      this.#tree.add(parent, hidden, newNode(whiteout, S_IF.CHR, 0));
      this.#tree.setXattr(parent, HAS_WHITEOUTS_XATTR.name, HAS_WHITEOUTS_XATTR.value);
    } else if (isDirectory(existing.mode)) {
      this.#tree.setXattr(existing.ino, OPAQUE_XATTR.name, OPAQUE_XATTR.value);
    }
  }

  /** Sets what a header says of an inode that is there already. */
  #describe(ino: number, entry: TarEntry, type: number): void {
    const mode = isSymlink(type) ? S_IF.LNK | 0o777 : type | entry.mode;
    this.#tree.setAttributes(ino, { ...entry, mode });
    this.#setXattrs(ino, entry, type);
  }

  #setXattrs(ino: number, entry: TarEntry, type: number): void {
    for (const { name, value } of entry.xattrs) {
      if (!keepsXattr(name, isDirectory(type) || isRegular(type))) continue;
      if (name.length > MAX_XATTR_NAME || value.length > MAX_XATTR_SIZE || name.includes('\0')) {
        throw cannot(
          entry,
          `its xattr "${printable(name.slice(0, MAX_XATTR_NAME))}" is longer than Linux allows`,
        );
      }
      this.#tree.setXattr(ino, name, value);
    }
  }

  #remove(parent: number, name: ByteString, child: Child): void {
    this.#tree.remove(parent, name, child);
    if (isDirectory(child.mode) || isSymlink(child.mode)) this.#remembered.clear();
  }

  #parentDirectory(path: readonly ByteString[], entry: TarEntry): number {
    if (path.length === 0) return rootIno;
    const key = path.join('/');
    const remembered = this.#remembered.get(key);
    if (remembered !== undefined) return remembered;
    const directory = this.#makeDirectories(this.#walk(path, entry), entry);
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
    this.#remembered.set(key, directory);
    return directory;
  }

  #makeDirectories(from: Walk, entry: TarEntry): number {
    let { ino, path } = from;
    for (const name of from.missing) {
      checkName(name, entry);
      path = path === '' ? name : `${path}/${name}`;
      ino = this.#tree.add(ino, name, { ...IMPLICIT_DIRECTORY, implicitPath: path });
    }
    return ino;
  }

  /** Follows `path` as far as it exists; symlinks resolve inside the root. */
  #walk(path: readonly ByteString[], entry: TarEntry): Walk {
    let rest = path;
    let ino = rootIno;
    let links = 0;
    for (let i = 0; i < rest.length;) {
      const name = rest[i] ?? '';
      const child = this.#tree.find(ino, name);
      if (child === undefined) {
        return { ino, path: rest.slice(0, i).join('/'), missing: rest.slice(i) };
      }
      if (isSymlink(child.mode)) {
        if (++links > MAX_SYMLINKS)
          throw cannot(entry, `its parent leads through more than ${MAX_SYMLINKS} symlinks`);
        rest = [
          ...linkTarget(rest.slice(0, i), this.#tree.target(child.ino)),
          ...rest.slice(i + 1),
        ];
        if (rest.length > MAX_PATH)
          throw cannot(entry, `its parent leads through symlinks longer than ${MAX_PATH} names`);
        i = 0;
        ino = rootIno;
      } else if (isDirectory(child.mode)) {
        ino = child.ino;
        i += 1;
      } else {
        throw cannot(
          entry,
          `"${printable(rest.slice(0, i + 1).join('/'))}" is a file, expected a directory`,
        );
      }
    }
    return { ino, path: rest.join('/'), missing: [] };
  }
}

/** How far a path exists. */
interface Walk {
  /** The last directory that exists, and its path from the root without symlinks. */
  ino: number;
  path: ByteString;
  missing: ByteString[];
}

function newNode(entry: TarEntry, type: number, dataOffset: number): NewNode {
  const isDevice = type === S_IF.CHR || type === S_IF.BLK;
  const isLink = type === S_IF.LNK;
  return {
    mode: type | (isLink ? 0o777 : entry.mode),
    uid: entry.uid,
    gid: entry.gid,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    size: isLink ? entry.linkPath.length : entry.size,
    // containerd cuts them to 32 bits too.
    devMajor: isDevice ? entry.devMajor >>> 0 : 0,
    devMinor: isDevice ? entry.devMinor >>> 0 : 0,
    dataOffset: type === S_IF.REG && entry.pieces === undefined ? dataOffset : null,
    target: isLink ? entry.linkPath : null,
    implicitPath: null,
  };
}

function checkName(name: ByteString, entry: TarEntry): void {
  if (name.length > MAX_NAME)
    throw cannot(entry, `a name in it has ${name.length} bytes, expected at most ${MAX_NAME}`);
}

function checkTarget(entry: TarEntry): void {
  const length = entry.linkPath.length;
  if (length === 0 || length >= MAX_PATH)
    throw cannot(entry, `its link target has ${length} bytes, expected 1 to ${MAX_PATH - 1}`);
}

function cannot(entry: TarEntry, why: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot index tar entry "${printable(entry.path.slice(0, 512))}": ${why}`,
  );
}

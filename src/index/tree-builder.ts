/**
 * From tar entries to a tree, by the rules that containerd's `archive.Apply` follows, with whiteouts in
 * overlayfs' form. Names are cleaned; symlinks in the parent part are followed inside the root; missing
 * parents are made; an existing path goes unless both are directories; the last of duplicates wins.
 *
 * The root's own entry gives the root its attributes, as umoci does it.
 */

import { SiphonError } from '../common/errors.js';
import { MAX_NAME, MAX_PATH, splitPath } from './byte-path.js';
import {
  type Child,
  type GrowingTree,
  IMPLICIT_DIRECTORY,
  type NewNode,
  extentsOf,
} from './growing-tree.js';
import { rootIno } from './layer-model.js';
import { S_IF, isDirectory, isRegular, isSymlink } from './modes.js';
import { HAS_WHITEOUTS_XATTR, OPAQUE_XATTR, keepsXattr, meaningOf } from './overlay-form.js';
import { TreePaths } from './tree-paths.js';
import { type FileType, MAX_DEVICE, type TarEntry, unknownType } from './tar-entry.js';
import { type ByteString, printable } from './tar-header.js';
import { xattrProblem } from './xattr-rules.js';

/**
 * Directories that are made for want of an entry, at most: so many, and so many more for each entry. A path of
 * 4,096 bytes needs 2,047, so that a few headers could make an index of gigabytes.
 */
const IMPLIED = { atFirst: 32_768, perEntry: 16 } as const;
/** Bytes of extended attributes with their names, at most: so many, and so many more for each entry, as ext4 has room for in an inode. */
const XATTRS = { atFirst: 256 * 2 ** 20, perEntry: 4096 } as const;
const MODE_OF: Record<FileType, number> = {
  file: S_IF.REG,
  directory: S_IF.DIR,
  symlink: S_IF.LNK,
  character: S_IF.CHR,
  block: S_IF.BLK,
  fifo: S_IF.IFO,
};

export class TreeBuilder {
  readonly #tree: GrowingTree;
  readonly #paths: TreePaths;
  #hasRootEntry = false;
  #entries = 0;
  #implied = 0;
  #xattrBytes = 0;

  constructor(tree: GrowingTree) {
    this.#tree = tree;
    this.#paths = new TreePaths(tree);
  }

  get hasRootEntry(): boolean {
    return this.#hasRootEntry;
  }

  /**
   * Applies one entry whose content begins at tar offset `dataOffset`.
   * @throws SiphonError `invalid` where containerd could not create it either
   */
  add(entry: TarEntry, dataOffset: number): void {
    this.#entries += 1;
    const { directory, name } = splitPath(entry.path);
    if (name === undefined) {
      this.#addRoot(entry);
      return;
    }
    const meaning = inEntry(entry, () => meaningOf(name));
    const last = meaning.kind === 'whiteout' ? meaning.hidden : name;
    const parent = this.#parentDirectory(directory, entry, last);
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
    switch (entry.type) {
      case 'global':
        return;
      case 'unknown':
        throw unknownType(entry);
      case 'hardlink':
        this.#addLink(parent, name, entry);
        return;
      default:
        this.#addNew({ parent, name, type: MODE_OF[entry.type] }, entry, dataOffset);
    }
  }

  #addNew(
    place: { parent: number; name: ByteString; type: number },
    entry: TarEntry,
    dataOffset: number,
  ): void {
    const { parent, name, type } = place;
    if (isSymlink(type)) checkTarget(entry);
    const ino = this.#tree.add(parent, name, newNode(entry, type, dataOffset));
    if (entry.pieces !== undefined) this.#tree.setExtents(ino, extentsOf(entry.pieces, dataOffset));
    this.#setXattrs(ino, entry, type);
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

  #linkedFile(entry: TarEntry): Child {
    const target = inEntry(entry, () => this.#paths.linked(entry.linkPath));
    if (target !== undefined) return target;
    throw cannot(
      entry,
      `its target "${printable(entry.linkPath.slice(0, 512))}" is not there, expected an earlier entry`,
    );
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
      const isFileOrDirectory = isDirectory(type) || isRegular(type);
      const problem = xattrProblem(name, value, isFileOrDirectory);
      if (problem !== undefined)
        throw cannot(entry, `its xattr "${printable(name.slice(0, MAX_NAME))}" ${problem}`);
      if (!keepsXattr(name, isFileOrDirectory)) continue;
      this.#countXattr(entry, name.length + value.length);
      this.#tree.setXattr(ino, name, value);
    }
  }

  #countXattr(entry: TarEntry, bytes: number): void {
    this.#xattrBytes += bytes;
    const limit = XATTRS.atFirst + XATTRS.perEntry * this.#entries;
    if (this.#xattrBytes > limit)
      throw cannot(
        entry,
        `with it, extended attributes take ${this.#xattrBytes} bytes, expected at most ${limit} so far`,
      );
  }

  #remove(parent: number, name: ByteString, child: Child): void {
    this.#tree.remove(parent, name, child);
    if (isDirectory(child.mode) || isSymlink(child.mode)) this.#paths.forget();
  }

  /** What is missing of the path that `name` is to be in is made. */
  #parentDirectory(path: ByteString, entry: TarEntry, name: ByteString): number {
    if (path === '') return rootIno;
    const place = inEntry(entry, () => this.#paths.find(path));
    if (place.length + 1 + name.length > MAX_PATH)
      throw cannot(
        entry,
        `its path has ${place.length + 1 + name.length} bytes, expected at most ${MAX_PATH} once links are followed`,
      );
    if (place.missing.length === 0) return place.ino;
    return this.#makeDirectories(place.ino, place.missing, entry);
  }

  #makeDirectories(from: number, names: readonly ByteString[], entry: TarEntry): number {
    this.#implied += names.length;
    const limit = IMPLIED.atFirst + IMPLIED.perEntry * this.#entries;
    if (this.#implied > limit)
      throw cannot(
        entry,
        `with it, ${this.#implied} directories are needed that no entry describes, expected at most ${limit} so far`,
      );
    let ino = from;
    for (const name of names) {
      checkName(name, entry);
      const group = this.#tree.inheritedGroup(ino);
      ino = this.#tree.add(ino, name, { ...IMPLICIT_DIRECTORY, gid: group, isImplicit: true });
    }
    return ino;
  }
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
    rdevMajor: isDevice ? entry.devMajor & MAX_DEVICE.major : 0,
    rdevMinor: isDevice ? entry.devMinor & MAX_DEVICE.minor : 0,
    dataOffset: type === S_IF.REG && entry.pieces === undefined ? dataOffset : null,
    target: isLink ? entry.linkPath : null,
    isImplicit: false,
  };
}

function checkName(name: ByteString, entry: TarEntry): void {
  if (name.includes('\0')) throw cannot(entry, 'a name in it has a NUL, expected none');
  if (name.length > MAX_NAME)
    throw cannot(entry, `a name in it has ${name.length} bytes, expected at most ${MAX_NAME}`);
}

function checkTarget(entry: TarEntry): void {
  if (entry.linkPath.includes('\0'))
    throw cannot(entry, 'its link target has a NUL, expected none');
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

/** Names the entry in whatever is wrong with its path. */
function inEntry<T>(entry: TarEntry, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof SiphonError)) throw error;
    throw new SiphonError(
      error.code,
      `${error.message} (tar entry "${printable(entry.path.slice(0, 512))}")`,
      { cause: error },
    );
  }
}

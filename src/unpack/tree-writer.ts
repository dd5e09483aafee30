/**
 * From tar entries to files, by the rules that containerd's `archive.Apply` follows: names are cleaned,
 * symlinks in the parent part are followed inside the root, missing parents are made, an existing path goes
 * unless both are directories, and the last of duplicates wins. Every step is one system call relative to
 * a directory that {@link RootedDirectories} opened, on a single name.
 *
 * A fresh file of root's costs four calls: open, write, set times, close.
 */

import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { systemCode } from '../common/errors.js';
import {
  O,
  closeDescriptor,
  linkAt,
  makeDirectoryAt,
  makeNodeAt,
  makeSymlinkAt,
  openAt,
  statusAt,
} from '../ffi/at-calls.js';
import { splitPath } from '../index/byte-path.js';
import { S_IF, isDirectory, isSymlink } from '../index/modes.js';
import { meaningOf } from '../index/overlay-form.js';
import type { StoredPiece } from '../index/sparse.js';
import { type TarEntry, unknownType } from '../index/tar-entry.js';
import { type ByteString, printable } from '../index/tar-header.js';
import { Attributes, MADE_WITH, clearXattrs } from './attributes.js';
import { DirectoryLedger } from './directory-ledger.js';
import { inheritDirectories } from './inherit-directories.js';
import { type LayerRules, pathIn } from './layer-rules.js';
import { LowerContent } from './lower-content.js';
import { OverlayMarks } from './overlay-marks.js';
import { removeTree } from './remove-tree.js';
import { type Directory, type FileTime, RootedDirectories } from './rooted-directories.js';
import { BENEATH } from './rooted-look.js';
import { cannotUnpack, unpackFailure } from './unpack-error.js';
import type { UnpackJob, UnpackedTree } from './unpack-model.js';

export type TreeJob = Pick<UnpackJob, 'target' | 'form' | 'rootEntry' | 'parents'>;

/** A file whose content is coming. */
interface OpenFile {
  fd: number;
  parent: Directory;
  entry: TarEntry;
  /** The piece that is being written; where the file is not sparse, there is only one. */
  piece: number;
  /** Bytes of that piece. */
  written: number;
}

const NEW_FILE = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW;
const S_ISGID = 0o2000;
const DEVICE_TYPE = { character: S_IF.CHR, block: S_IF.BLK, fifo: S_IF.IFO } as const;

export class TreeWriter {
  readonly #job: TreeJob;
  readonly #root: number;
  readonly #directories: RootedDirectories;
  readonly #attributes = new Attributes();
  readonly #ledger = new DirectoryLedger();
  readonly #rules: LayerRules;
  #file: OpenFile | undefined;
  #entry: TarEntry | undefined;
  #entries = 0;
  #contentSize = 0;
  #rootDescribed = false;

  /** @param exactModes whether this thread has an empty umask */
  constructor(job: TreeJob, exactModes: boolean) {
    this.#job = job;
    this.#root = openSync(job.target, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#directories = new RootedDirectories(this.#root, exactModes, this.#ledger);
    this.#rules =
      job.form === 'overlay'
        ? new OverlayMarks(this.#attributes)
        : new LowerContent(this.#directories, (parent, name) => this.#remove(parent, name));
  }

  /**
   * Applies one entry; the content of a file comes by {@link content}.
   * @throws SiphonError `invalid` for what cannot be in a tree, `no-space`, `permission`, …
   */
  add(entry: TarEntry): void {
    this.#entry = entry;
    this.#entries += 1;
    this.#blaming(() => this.#apply(entry));
  }

  /** Takes the next bytes of the file that was added last; all others have none that matter. */
  content(bytes: Buffer): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#blaming(() => writePieces(file, bytes));
    this.#contentSize += bytes.length;
    if (isWhole(file)) this.#blaming(() => this.#finishFile(file));
  }

  /** Does what has to come last. */
  finish(): UnpackedTree {
    this.#entry = undefined;
    return this.#blaming(() => {
      const directories = this.#ledger.finish(this.#directories);
      const { target, parents } = this.#job;
      return {
        entries: this.#entries,
        contentSize: this.#contentSize,
        implicitDirectories: inheritDirectories({ target, directories, parents }),
        rootDescribed: this.#rootDescribed,
        ignoredXattrs: this.#attributes.ignoredXattrs,
      };
    });
  }

  /** Lets go of all descriptors; the files stay as they are. */
  close(): void {
    if (this.#file !== undefined) closeDescriptor(this.#file.fd);
    this.#directories.forget();
    closeSync(this.#root);
  }

  #blaming<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw unpackFailure(error, this.#entry);
    }
  }

  #apply(entry: TarEntry): void {
    const { directory, name } = splitPath(entry.path);
    if (name === undefined) {
      if (entry.type === 'directory' && this.#job.rootEntry) this.#describeRoot(entry);
      return;
    }
    const meaning = meaningOf(name);
    const parent = this.#directories.ensure(directory);
    switch (meaning.kind) {
      case 'opaque':
        this.#rules.opaque(parent);
        break;
      case 'whiteout':
        this.#rules.whiteout(parent, meaning.hidden, entry);
        break;
      case 'plain':
        this.#add(parent, name, entry);
    }
  }

  #describeRoot(entry: TarEntry): void {
    const { fd } = this.#directories.at('');
    this.#attributes.ofRoot(fd, entry);
    this.#ledger.described('', timeOf(entry));
    this.#rootDescribed = true;
    this.#directories.forget();
  }

  #add(parent: Directory, name: ByteString, entry: TarEntry): void {
    switch (entry.type) {
      case 'file':
        this.#addFile(parent, name, entry);
        break;
      case 'directory':
        this.#addDirectory(parent, name, entry);
        return;
      case 'symlink':
        this.#replacing(parent, name, (into) => {
          makeSymlinkAt(into.fd, name, entry.linkPath);
          this.#attributes.ofNewNode(into, name, entry, S_IF.LNK);
        });
        break;
      case 'hardlink':
        this.#replacing(parent, name, (into) => this.#link(into, name, entry));
        break;
      case 'character':
      case 'block':
      case 'fifo':
        this.#addNode(parent, name, entry, DEVICE_TYPE[entry.type]);
        break;
      case 'global':
        this.#makeWay(parent, name);
        return;
      case 'unknown':
        throw unknownType(entry);
    }
    this.#rules.claim(pathIn(parent, name));
  }

  #addFile(parent: Directory, name: ByteString, entry: TarEntry): void {
    const file = this.#replacing(parent, name, (into) => ({
      fd: openAt(into.fd, name, NEW_FILE, entry.mode & MADE_WITH, BENEATH),
      parent: into,
      entry,
      piece: 0,
      written: 0,
    }));
    this.#file = file;
    if (isWhole(file)) this.#finishFile(file);
  }

  #finishFile(file: OpenFile): void {
    // What lies behind the last piece of a sparse file.
    if (file.entry.pieces !== undefined) ftruncateSync(file.fd, file.entry.size);
    this.#attributes.ofNewFile(file.fd, file.parent, file.entry);
    this.#file = undefined;
    closeDescriptor(file.fd);
  }

  #addNode(parent: Directory, name: ByteString, entry: TarEntry, type: number): void {
    const device =
      entry.type === 'fifo'
        ? { major: 0, minor: 0 }
        : { major: entry.devMajor, minor: entry.devMinor };
    this.#replacing(parent, name, (into) => {
      makeNodeAt(into.fd, name, type | (entry.mode & MADE_WITH), device);
      this.#attributes.ofNewNode(into, name, entry, type);
    });
  }

  /**
   * The header of a hard link describes the file anew in overlay form, as containerd applies it; umoci,
   * whose form is the merged one, leaves the file as its own header says.
   */
  #link(parent: Directory, name: ByteString, entry: TarEntry): void {
    try {
      const from = this.#directories.linked(entry.linkPath);
      linkAt(from.directory.fd, from.name, parent.fd, name);
    } catch (error) {
      const code = systemCode(error);
      const text = `"${printable(entry.linkPath)}"`;
      if (code === 'ENOENT')
        throw cannotUnpack(
          entry,
          `its target ${text} is not there, expected an earlier entry`,
          error,
        );
      if (code === 'EPERM' || code === 'EXDEV')
        throw cannotUnpack(entry, `its target ${text} cannot be linked to, expected a file`, error);
      throw error;
    }
    if (this.#job.form === 'overlay') this.#attributes.ofExisting(parent, name, entry);
  }

  #addDirectory(parent: Directory, name: ByteString, entry: TarEntry): void {
    const path = pathIn(parent, name);
    const isOwn = this.#rules.claim(path);
    try {
      this.#makeDirectory(parent, name, entry);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      if (isDirectory(statusAt(parent.fd, name).mode)) {
        this.#describeDirectory(parent, name, { entry, isOwn });
      } else {
        this.#remove(parent, name);
        this.#makeDirectory(this.#directories.at(parent.path), name, entry);
      }
    }
    this.#ledger.described(path, timeOf(entry));
  }

  #makeDirectory(parent: Directory, name: ByteString, entry: TarEntry): void {
    makeDirectoryAt(parent.fd, name, entry.mode & MADE_WITH);
    this.#attributes.ofNewNode(parent, name, entry, S_IF.DIR);
  }

  /** A directory of a layer below becomes what this layer says, attributes that it lacks included. */
  #describeDirectory(
    parent: Directory,
    name: ByteString,
    { entry, isOwn }: { entry: TarEntry; isOwn: boolean },
  ): void {
    if (!isOwn) clearXattrs(this.#directories.at(pathIn(parent, name)).fd);
    this.#attributes.ofExisting(parent, name, entry);
    // What is made in it may get another group or mode from now on.
    if ((entry.mode & S_ISGID) !== 0 || entry.xattrs.length > 0) this.#directories.forget();
  }

  /** Makes something under a name that may be taken: what is there goes first. */
  #replacing<T>(parent: Directory, name: ByteString, make: (parent: Directory) => T): T {
    try {
      return make(parent);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    this.#remove(parent, name);
    return make(this.#directories.at(parent.path));
  }

  #makeWay(parent: Directory, name: ByteString): void {
    try {
      this.#remove(parent, name);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }

  /** Afterwards `parent` may be closed. */
  #remove(parent: Directory, name: ByteString): void {
    const { mode } = statusAt(parent.fd, name);
    removeTree(parent.fd, name);
    if (isDirectory(mode)) this.#ledger.removed();
    if (isDirectory(mode) || isSymlink(mode)) this.#directories.forget();
  }
}

function timeOf(entry: TarEntry): FileTime {
  return { seconds: entry.mtimeSeconds, nanoseconds: entry.mtimeNanoseconds };
}

function piecesOf({ pieces, size }: TarEntry): readonly StoredPiece[] {
  return pieces ?? (size === 0 ? [] : [{ offset: 0, length: size }]);
}

function isWhole({ entry, piece }: OpenFile): boolean {
  return piece === piecesOf(entry).length;
}

/** Writes each byte where its piece has it; what is between pieces stays a hole. */
function writePieces(file: OpenFile, bytes: Buffer): void {
  const pieces = piecesOf(file.entry);
  for (let at = 0; at < bytes.length;) {
    const { offset, length } = pieces[file.piece] ?? { offset: 0, length: bytes.length };
    const count = Math.min(bytes.length - at, length - file.written);
    const done = writeSync(file.fd, bytes, at, count, offset + file.written);
    at += done;
    file.written += done;
    if (file.written < length) continue;
    file.piece += 1;
    file.written = 0;
  }
}

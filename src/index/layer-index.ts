import type { Digest, DiffId } from '../common/digest.js';
import type { DirectoryEntry, Inode, LayerInfo, Segment, Span } from './layer-model.js';

export { rootIno } from './layer-model.js';
export type {
  Compression,
  DirectoryEntry,
  Inode,
  LayerInfo,
  Segment,
  Span,
} from './layer-model.js';

/** What the caller knows of the layer that an index claims to describe. */
export interface ExpectedLayer {
  blobDigest?: Digest;
  diffId?: DiffId;
  blobSize?: number;
}

export declare class LayerIndex implements Disposable {
  static open(path: string, expected?: ExpectedLayer): LayerIndex;
  readonly info: LayerInfo;
  readonly spanBounds: Float64Array;
  lookup(parent: number, name: Buffer): Inode | undefined;
  inode(ino: number): Inode | undefined;
  parent(dirIno: number): number;
  readdir(ino: number, after: number, limit: number): DirectoryEntry[];
  readlink(ino: number): Buffer | undefined;
  xattrNames(ino: number): Buffer[];
  xattr(ino: number, name: Buffer): Buffer | undefined;
  segments(ino: number, offset: number, length: number): Segment[];
  spanAt(tarOffset: number): number;
  span(number: number): Span;
  window(number: number): Buffer | undefined;
  /** Directories that no entry of the tar describes: a lower layer's attributes belong there. */
  implicitDirectories(): ImplicitDirectory[];
  close(): void;
  [Symbol.dispose](): void;
}

export interface ImplicitDirectory {
  ino: number;
  /** From the root, without a leading slash. */
  path: Buffer;
}

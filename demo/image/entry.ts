/** Entries of a layer tar as values, and short ways to write them. */

import { createReadStream } from 'node:fs';
import { posix } from 'node:path';
import { pseudoRandomBytes } from './pseudo-random.js';

/** Every entry that does not say otherwise has this time, so that equal inputs give equal layers. */
export const FIXED_MTIME = new Date('2024-01-01T00:00:00Z');

export interface Attributes {
  /** Permission and set-id bits; 0755 for folders, 0644 for files where absent. */
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: Date;
  /** Values as text of single-byte characters; NUL is allowed. */
  xattrs?: Record<string, string>;
}

/** Bytes of known length, made when the layer is written. */
export interface Content {
  size: number;
  read(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Paths are relative to the root, without a leading or trailing slash. */
export type Entry = { path: string; attributes: Attributes } & (
  | { kind: 'directory' }
  | { kind: 'file'; content: Content }
  | { kind: 'symlink'; target: string }
  | { kind: 'hard-link'; target: string }
  | { kind: 'character-device' | 'block-device'; major: number; minor: number }
  | { kind: 'fifo' }
);

export function directory(path: string, attributes: Attributes = {}): Entry {
  return { kind: 'directory', path, attributes };
}

export function file(path: string, content: Content | string, attributes: Attributes = {}): Entry {
  const bytes = typeof content === 'string' ? text(content) : content;
  return { kind: 'file', path, attributes, content: bytes };
}

export function symlink(path: string, target: string): Entry {
  return { kind: 'symlink', path, target, attributes: {} };
}

/**
 * @param target path of an entry before this one, in this layer or below
 * @param attributes those of the file: tar(1) repeats them, and containerd applies them
 */
export function hardLink(path: string, target: string, attributes: Attributes = {}): Entry {
  return { kind: 'hard-link', path, target, attributes };
}

/** Hides `path` of the layers below (OCI image-spec, layer.md, "Whiteouts"). */
export function whiteout(path: string): Entry {
  const { dir, base } = posix.parse(path);
  return file(posix.join(dir, `.wh.${base}`), '');
}

/** Hides all that the layers below have in the folder `path` (the same, "Opaque Whiteout"). */
export function opaque(path: string): Entry {
  return file(posix.join(path, '.wh..wh..opq'), '');
}

export function text(value: string): Content {
  const bytes = Buffer.from(value);
  return { size: bytes.length, read: () => [bytes] };
}

/** `size` bytes that do not compress, the same for the same seed. */
export function noise(seed: string, size: number): Content {
  return { size, read: () => pseudoRandomBytes(seed, size) };
}

/** A file of this machine, of which `size` bytes are read. */
export function hostFile(path: string, size: number): Content {
  return {
    size,
    read: () => (size === 0 ? [] : createReadStream(path, { end: size - 1 })),
  };
}

/**
 * `entries` with an entry for each parent folder that has none, before its first child. The root gets
 * none.
 */
export function withParents(entries: readonly Entry[]): Entry[] {
  const known = new Set(['.', '']);
  const result: Entry[] = [];
  for (const entry of entries) {
    for (const parent of parents(entry.path)) {
      if (known.has(parent)) continue;
      known.add(parent);
      result.push(directory(parent));
    }
    known.add(entry.path);
    result.push(entry);
  }
  return result;
}

/** Parent folders of `path`, outermost first. */
function parents(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

/** Indexes of layers made in tests, and what they hold as plain values. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import { type ExpectedLayer, type Inode, LayerIndex, rootIno } from '#src/index/layer-index.js';
import { IndexBuilder } from '#src/index/index-builder.js';

/** A folder that goes when the test is over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'siphon-index-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface IndexOptions {
  spanSize?: number;
  expected?: ExpectedLayer;
  /** Size of the pieces that the builder gets. */
  pieceSize?: number;
}

/** Builds an index of `blob` in this thread and opens it. */
export function indexOf(blob: Buffer, options: IndexOptions = {}): LayerIndex {
  const path = join(temporaryFolder(), 'index');
  const { pieceSize = 64 * 1024, ...rest } = options;
  const builder = new IndexBuilder({ path, ...rest });
  try {
    for (let at = 0; at < blob.length; at += pieceSize)
      builder.push(blob.subarray(at, at + pieceSize));
    builder.finish();
  } catch (error) {
    builder.abort();
    throw error;
  }
  const index = LayerIndex.open(path);
  onTestFinished(() => index.close());
  return index;
}

export interface TreeEntry extends Inode {
  target?: string;
  xattrs?: Record<string, string>;
}

/** Every path (latin1, without leading slash; the root is '') with what the index says of it. */
export function treeOf(index: LayerIndex): Map<string, TreeEntry> {
  const tree = new Map<string, TreeEntry>();
  const root = index.inode(rootIno);
  if (root === undefined) throw new Error('no root');
  const todo: [string, Inode][] = [['', root]];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const [path, inode] = next;
    tree.set(path, describe(index, inode));
    if ((inode.mode & 0o170000) !== 0o040000) continue;
    for (const entry of allEntries(index, inode.ino)) {
      const name = entry.name.toString('latin1');
      todo.push([path === '' ? name : `${path}/${name}`, entry.inode]);
    }
  }
  return tree;
}

/** The tree as lines `mode path`, sorted: enough to see what is where. */
export function listingOf(index: LayerIndex): string[] {
  return [...treeOf(index)]
    .filter(([path]) => path !== '')
    .map(
      ([path, entry]) =>
        `${entry.mode.toString(8)} ${path}${entry.target === undefined ? '' : ` -> ${entry.target}`}`,
    )
    .toSorted((a, b) => (a.slice(a.indexOf(' ')) < b.slice(b.indexOf(' ')) ? -1 : 1));
}

export function allEntries(index: LayerIndex, ino: number, limit = 50) {
  const entries = [];
  for (let after = 0; ;) {
    const page = index.readdir(ino, after, limit);
    if (page.length === 0) return entries;
    entries.push(...page);
    after = page.at(-1)?.position ?? after;
  }
}

/** Bytes in memory as a blob source that counts what is asked of it. */
export function memorySource(
  blob: Buffer,
  options: { delay?: number } = {},
): BlobSource & { reads: [number, number][] } {
  const reads: [number, number][] = [];
  return {
    name: 'memory',
    size: blob.length,
    local: true,
    reads,
    async read(offset, length, signal) {
      reads.push([offset, length]);
      if (options.delay !== undefined) {
        await new Promise((resolve, reject) => {
          setTimeout(resolve, options.delay);
          signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true });
        });
      }
      return Buffer.from(blob.subarray(offset, offset + length));
    },
    stream: (_, from) => piecesOf(blob.subarray(from)),
    close: () => Promise.resolve(),
  };
}

export async function* piecesOf(blob: Buffer, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < blob.length; at += size) {
    await Promise.resolve();
    yield blob.subarray(at, at + size);
  }
}

function describe(index: LayerIndex, inode: Inode): TreeEntry {
  const entry: TreeEntry = { ...inode };
  const target = index.readlink(inode.ino);
  if (target !== undefined) entry.target = target.toString('latin1');
  const names = index.xattrNames(inode.ino);
  if (names.length > 0) {
    entry.xattrs = Object.fromEntries(
      names.map((name) => [
        name.toString('latin1'),
        index.xattr(inode.ino, name)?.toString('latin1') ?? '',
      ]),
    );
  }
  return entry;
}

/** What the files of an index hold, read the way they are served: span by span, checked and cached. */

import { mkdtempSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlobSource } from '#src/common/blob-source.js';
import type { LayerIndex } from '#src/index/layer-index.js';
import { SpanCache } from '#src/index/span-cache.js';
import { SpanReader } from '#src/index/span-reader.js';
import { treeOf } from '../../support/layers.js';

const REGULAR = 0o100000;
const TYPE = 0o170000;

/** Contents as latin1 text, which compares fast, by path. @throws what reading a span throws */
export async function contentsOf(
  index: LayerIndex,
  source: BlobSource,
): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const [path, { ino, mode }] of treeOf(index)) {
    if ((mode & TYPE) === REGULAR) contents[path] = await textOf(index, source, ino);
  }
  return contents;
}

async function textOf(index: LayerIndex, source: BlobSource, ino: number): Promise<string> {
  return (await contentOf(index, source, ino)).toString('latin1');
}

/** The content of one file, through a cache of its own. @throws what reading a span throws */
export async function contentOf(
  index: LayerIndex,
  source: BlobSource,
  ino: number,
): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'siphon-toc-'));
  const cache = SpanCache.open(folder, index.spanBounds);
  const reader = new SpanReader({ index, cache, source });
  try {
    const pieces: Buffer[] = [];
    for (const segment of index.segments(ino, 0, index.inode(ino)?.size ?? 0)) {
      const bytes = Buffer.alloc(segment.length);
      pieces.push(bytes);
      if (segment.kind === 'hole') continue;
      const { tarOffset, length } = segment;
      const spans = [index.spanAt(tarOffset), index.spanAt(tarOffset + length - 1)] as const;
      await reader.ensure(...spans, new AbortController().signal);
      readSync(cache.fd, bytes, 0, length, tarOffset);
    }
    return Buffer.concat(pieces);
  } finally {
    await reader.close();
    cache.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

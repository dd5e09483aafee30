/**
 * Derives an index again from its blob and compares: the only way to know that one from elsewhere tells
 * the truth about the tree. (Contents are checked by span whenever they are read.)
 *
 * One that siphon made is compared row by row. One that was made of a table of contents has places and numbers of
 * its own, so it is read as a mount would read it, and what there is to see is compared; for that the blob and
 * both tars need room in the folder for temporary files.
 */

import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileBlob } from '../common/file-blob.js';
import { UndoStack } from '../common/undo-stack.js';
import { buildIndex } from './build-index.js';
import { compareIndexes } from './compare-indexes.js';
import { type LayerView, compareLayers } from './compare-layers.js';
import type { ExpectedLayer } from './expected-layer.js';
import { LayerIndex } from './layer-index.js';
import type { LayerInfo } from './layer-model.js';
import { SpanCache } from './span-cache.js';
import { SpanReader } from './span-reader.js';
import { TOC_MARKS } from './toc/estargz.js';

export interface VerifyOptions {
  /** Folder for temporary files; by default the system's. */
  folder?: string;
  /** Of a file that holds the blob, where there is one. */
  blobPath?: string;
  /** `location`: where the index has no digests, that of the blob is a name and says nothing about it. */
  identity?: 'content' | 'location';
  signal?: AbortSignal;
}

interface Work {
  info: LayerInfo;
  indexPath: string;
  blob: AsyncIterable<Uint8Array>;
  blobPath: string | undefined;
  expected: ExpectedLayer;
  folder: string;
  signal: AbortSignal;
}

/**
 * Checks the index at `indexPath` against the whole blob it is said to describe.
 * @throws SiphonError `corrupt` that names the first row, span or path that differs; and as {@link buildIndex}
 */
export async function verifyIndex(
  indexPath: string,
  blob: AsyncIterable<Uint8Array>,
  options: VerifyOptions = {},
): Promise<LayerInfo> {
  const { identity = 'content', signal = new AbortController().signal } = options;
  const info = readInfo(indexPath);
  const expected = expectedOf(info, identity);
  const folder = await mkdtemp(join(options.folder ?? tmpdir(), 'siphon-verify-'));
  try {
    const { blobPath } = options;
    const work = { info, indexPath, blob, blobPath, expected, folder, signal };
    await (info.format === 'siphon' ? verifyOwn(work) : verifyForeign(work));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return info;
}

function expectedOf(info: LayerInfo, identity: 'content' | 'location'): ExpectedLayer {
  const { blobDigest, blobSize, diffId, digestOf } = info;
  return digestOf === 'none' && identity === 'location'
    ? { blobSize }
    : { blobDigest, blobSize, diffId };
}

async function verifyOwn({ info, indexPath, blob, expected, folder, signal }: Work): Promise<void> {
  const output = join(folder, 'index');
  await buildIndex(blob, { output, spanSize: info.spanSize, expected, signal });
  compareIndexes(indexPath, output);
}

async function verifyForeign(work: Work): Promise<void> {
  const { indexPath, blob, expected, folder, signal } = work;
  const output = join(folder, 'index');
  const blobPath = work.blobPath ?? join(folder, 'blob');
  const bytes = work.blobPath === undefined ? writtenTo(blobPath, blob) : blob;
  await buildIndex(bytes, { output, expected, signal });
  await using undo = new UndoStack();
  const viewOf = (from: string, name: string): Promise<LayerView> =>
    openView({ indexPath: from, blobPath, cache: join(folder, name) }, undo, signal);
  const claimed = await viewOf(indexPath, 'claimed');
  compareLayers(claimed, await viewOf(output, 'truth'), { hidden: TOC_MARKS });
}

/** All of a layer, each span checked against its digest. */
async function openView(
  paths: { indexPath: string; blobPath: string; cache: string },
  undo: UndoStack,
  signal: AbortSignal,
): Promise<LayerView> {
  const index = LayerIndex.open(paths.indexPath);
  undo.defer(() => index.close());
  const cache = SpanCache.open(paths.cache, index.spanBounds);
  undo.defer(() => cache.close());
  const reader = new SpanReader({ index, cache, source: await FileBlob.open(paths.blobPath) });
  undo.defer(() => reader.close());
  if (index.info.spanCount > 0) await reader.ensure(0, index.info.spanCount - 1, signal);
  return { index, data: cache.fd };
}

async function* writtenTo(
  path: string,
  blob: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  await using file = await open(path, 'w', 0o600);
  for await (const piece of blob) {
    await file.writeFile(piece);
    yield piece;
  }
}

function readInfo(path: string): LayerInfo {
  using index = LayerIndex.open(path);
  return index.info;
}

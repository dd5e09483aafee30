/**
 * A table of contents becomes a layer index, by the same rules for names, links and whiteouts that the
 * entries of a tar go by. Runs in the calling thread; {@link indexFromToc} has a worker for it.
 *
 * What the table says of the tree is believed as far as the manifest that binds it is believed: nothing
 * compares it with the tar. Contents are not: each chunk or span has a digest.
 */

import { rmSync } from 'node:fs';
import { digestOf } from '../../common/digest.js';
import { SiphonError } from '../../common/errors.js';
import { components } from '../byte-path.js';
import { IndexWriter, type LayerFacts } from '../index-writer.js';
import { LayerIndex } from '../layer-index.js';
import type { LayerInfo } from '../layer-model.js';
import { streamDecoder } from '../stream-decoder.js';
import { TreeBuilder } from '../tree-builder.js';
import { type ChunkSpans, chunkSpans } from './chunk-spans.js';
import { PREFETCH_LANDMARK, TOC_MARKS, unpackStargzToc } from './estargz.js';
import { parseJsonToc } from './json-toc.js';
import {
  MAX_TOC_SIZE,
  type PackedToc,
  type SociToc,
  type StargzToc,
  type TocLayer,
  type ZstdChunkedToc,
} from './packed-toc.js';
import type { TocChunk, TocEntry } from './toc-model.js';
import { gzipSpans, lacksFirstCheckpoint, tarSpans } from './zinfo.js';
import { parseZtoc } from './ztoc.js';

export interface TocJob {
  /** The index file to create. */
  path: string;
  toc: PackedToc;
  layer: TocLayer;
}

/**
 * Writes the index; on failure nothing is left of it.
 * @param checkWanted is called every few milliseconds, and throws to end the work
 * @throws SiphonError `corrupt` where the table is not the one that its digest names or not of this
 * layer, `invalid` where it contradicts itself, `unsupported` where it does not say enough
 */
export async function buildTocIndex(
  { path, toc, layer }: TocJob,
  checkWanted: () => void = () => undefined,
): Promise<LayerInfo> {
  const staging = `${path}.staging`;
  const writer = new IndexWriter(path, staging);
  try {
    const facts = await describe(toc, layer, { writer, checkWanted });
    const info = writer.finish({ ...facts, ...layer });
    // Bounds are checked where every index has them checked.
    LayerIndex.open(path, layer).close();
    return info;
  } catch (error) {
    writer.close();
    rmSync(path, { force: true });
    throw error;
  } finally {
    rmSync(staging, { force: true });
  }
}

/** What an index is made with. */
interface Making {
  writer: IndexWriter;
  /** Is called at each entry, and throws to end the work. */
  checkWanted: () => void;
}

type TocFacts = Omit<LayerFacts, keyof TocLayer>;

async function describe(toc: PackedToc, layer: TocLayer, making: Making): Promise<TocFacts> {
  switch (toc.format) {
    case 'estargz':
      return {
        ...fromJson(stargzJson(toc), toc.payloadEnd, making),
        format: 'estargz',
        formatReason: 'eStargz footer; the manifest names the digest of its table of contents',
        compression: 'gzip',
        digestOf: 'tar',
      };
    case 'zstd-chunked':
      return {
        ...fromJson(await zstdJson(toc), toc.payloadEnd, making),
        format: 'zstd-chunked',
        formatReason: 'zstd:chunked; the manifest names the digest of its table of contents',
        compression: 'zstd',
        digestOf: 'tar',
      };
    case 'soci':
      return fromZtoc(toc, layer, making);
  }
}

function stargzJson(toc: StargzToc): Buffer {
  const json = unpackStargzToc(toc.bytes, MAX_TOC_SIZE);
  const digest = digestOf(json);
  if (digest === toc.digest) return json;
  throw new SiphonError(
    'corrupt',
    `Cannot believe table of contents: its digest is ${digest}, expected ${toc.digest} as the manifest says`,
  );
}

async function zstdJson({ bytes, size }: ZstdChunkedToc): Promise<Buffer> {
  const pieces = [Buffer.from(bytes)];
  using decoder = streamDecoder('zstd', () => Promise.resolve(pieces.pop()), {
    bits: 0,
    window: undefined,
  });
  const json = Buffer.alloc(size);
  const length = await decoder.fill(json);
  if (length === size && (await decoder.fill(Buffer.alloc(1))) === 0) return json;
  throw new SiphonError(
    'invalid',
    `Cannot read table of contents: its frame has ${length === size ? 'more' : length} bytes, expected ${size}`,
  );
}

/** Goes through the entries twice, first for the chunks: those are all that is held of them. */
function fromJson(
  json: Buffer,
  payloadEnd: number,
  { writer, checkWanted }: Making,
): Pick<TocFacts, 'tarSize' | 'spanSize' | 'spanCount' | 'hasRootEntry' | 'prefetchEnd'> {
  const chunks: TocChunk[] = [];
  for (const one of parseJsonToc(json, checkWanted))
    for (const chunk of one.chunks) chunks.push(chunk);
  const laidOut = chunkSpans(chunks, payloadEnd);
  for (const span of laidOut.spans) writer.addSpan(span, undefined);
  const tree = new TreeBuilder(writer.tree);
  let prefetchEnd = 0;
  let at = 0;
  for (const { entry, chunks: again } of parseJsonToc(json, checkWanted)) {
    const one = { entry, chunks: chunks.slice(at, (at += again.length)) };
    const path = components(entry.path).join('/');
    if (path === PREFETCH_LANDMARK) prefetchEnd = startOf(one, laidOut);
    if (!TOC_MARKS.has(path)) addTo(tree, one, laidOut);
  }
  return {
    tarSize: laidOut.tarSize,
    spanSize: chunks.reduce((most, { size }) => Math.max(most, size), 0),
    spanCount: laidOut.spans.length,
    hasRootEntry: tree.hasRootEntry,
    prefetchEnd,
  };
}

/** A file's chunks lie one after another, also where zeros between them are left out. */
function addTo(tree: TreeBuilder, one: TocEntry, laidOut: ChunkSpans): void {
  const start = startOf(one, laidOut);
  let at = start;
  for (const chunk of one.chunks) {
    if (laidOut.tarOffsets.get(chunk) !== at) {
      throw new SiphonError(
        'unsupported',
        'Cannot use table of contents: the chunks of a file are scattered, expected them in a row',
      );
    }
    at += chunk.size;
  }
  const isSparse = at - start < one.entry.size;
  const pieces = one.chunks.map(({ fileOffset, size }) => ({ offset: fileOffset, length: size }));
  tree.add(isSparse ? { ...one.entry, pieces } : one.entry, start);
}

function startOf({ chunks: [first] }: TocEntry, { tarOffsets }: ChunkSpans): number {
  return first === undefined ? 0 : (tarOffsets.get(first) ?? 0);
}

function fromZtoc(toc: SociToc, layer: TocLayer, { writer, checkWanted }: Making): TocFacts {
  const ztoc = parseZtoc(Buffer.from(toc.bytes));
  const { compression, tarSize, blobSize } = ztoc;
  if (blobSize !== layer.blobSize) {
    throw new SiphonError(
      'corrupt',
      `Cannot use zTOC: it describes a blob of ${blobSize} bytes, expected ${layer.blobSize}`,
    );
  }
  if (compression === 'gzip') checkHeader(toc, ztoc.checkpoints);
  let spanCount = 0;
  let spanSize = 0;
  for (const { span, window } of compression === 'gzip' ? gzipSpans(ztoc) : tarSpans(ztoc)) {
    checkWanted();
    writer.addSpan(span, window);
    spanCount += 1;
    spanSize = Math.max(spanSize, span.blobLength);
  }
  const tree = new TreeBuilder(writer.tree);
  for (const { entry, dataOffset } of ztoc.entries) {
    checkWanted();
    tree.add(entry, dataOffset);
  }
  const formatReason = 'SOCI: a zTOC of the layer is published for the image';
  const { hasRootEntry } = tree;
  const spans = { spanSize, spanCount, tarSize, digestOf: 'blob', prefetchEnd: 0 } as const;
  return { ...spans, format: 'soci', formatReason, compression, hasRootEntry };
}

/** Old zTOCs take it for granted that a gzip header has no options, and say nothing where it has. */
function checkHeader({ hasPlainHeader }: SociToc, checkpoints: Buffer): void {
  if (hasPlainHeader || !lacksFirstCheckpoint(checkpoints)) return;
  throw new SiphonError(
    'unsupported',
    'Cannot use zTOC: it is of an old form and the gzip header has options, expected one without',
  );
}

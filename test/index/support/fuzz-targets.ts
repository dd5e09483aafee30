/** The parsers of what comes from outside, with inputs to damage. A new format is one more entry. */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gunzipSync, gzipSync } from 'node:zlib';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LayerIndex, type LayerInfo, rootIno } from '#src/index/layer-index.js';
import { parsePaxRecords, parsePaxTime } from '#src/index/pax.js';
import { parseTarHeader } from '#src/index/tar-header.js';
import { TarReader } from '#src/index/tar-reader.js';
import { chunkSpans } from '#src/index/toc/chunk-spans.js';
import { parseStargzFooter } from '#src/index/toc/estargz.js';
import { parseJsonToc } from '#src/index/toc/json-toc.js';
import { gzipSpans, tarSpans } from '#src/index/toc/zinfo.js';
import { parseZtoc } from '#src/index/toc/ztoc.js';
import { TREE_CASES } from '../../support/tree-cases.js';
import { footerOf } from '../toc/support/stargz-bytes.js';
import { ztocBytes, ztocPartsOf } from '../toc/support/ztoc-bytes.js';
import type { FuzzTarget } from './fuzz.js';
import { dir, file, hardlink, headerBytes, paxRecord, symlink, tarOf } from './tar-bytes.js';

const BLOCK = 512;
/** Inodes that a walk through a damaged index may see. */
const MAX_LISTED = 10_000;

/** Every tar of the comparison with containerd. */
const TARS = TREE_CASES.flatMap(({ layers }) => layers);
const MIXED = tarOf(
  dir('d', { mtime: 1 }),
  file('d/f', 'content '.repeat(300), { pax: { mtime: '1.5', 'SCHILY.xattr.user.a': 'b' } }),
  symlink('d/s', 'f'),
  hardlink('h', 'd/f'),
);
const RECORDS = Buffer.from(
  [
    ['path', 'a/b'],
    ['mtime', '-1.5'],
    ['size', '3'],
    ['SCHILY.xattr.user.a', 'x\0='],
    ['GNU.sparse.offset', '0'],
    ['GNU.sparse.numbytes', '3'],
  ]
    .map(([key = '', value = '']) => paxRecord(key, value))
    .join(''),
  'latin1',
);

const CHUNK = { chunkDigest: `sha256:${'0'.repeat(64)}`, chunkSize: 5 };
const TABLE = JSON.stringify({
  version: 1,
  entries: [
    { type: 'dir', name: './', mode: 493, modtime: '2023-11-14T22:13:20.5Z' },
    { type: 'reg', name: 'f', size: 15, offset: 100, xattrs: { 'user.a': 'AP8Q' }, ...CHUNK },
    { type: 'chunk', name: 'f', offset: 200, chunkOffset: 5, ...CHUNK },
    { type: 'chunk', name: 'f', offset: 200, innerOffset: 9, chunkOffset: 10, ...CHUNK },
    { type: 'symlink', name: 's', linkName: 'f' },
    { type: 'char', name: 'c', devMajor: 1, devMinor: 3 },
  ],
});

export const FUZZ_TARGETS = [
  'tar header',
  'PAX records',
  'tar',
  'layer, plain',
  'layer, gzip',
  'index file',
  'stargz footer',
  'table of contents',
  'zTOC',
] as const;

/** @param folder for index files */
export function fuzzTarget(name: (typeof FUZZ_TARGETS)[number], folder: string): FuzzTarget {
  const indexPath = join(folder, 'index');
  switch (name) {
    case 'tar header': {
      const seeds = [headerBytes({ path: 'a/b' }), headerBytes({ path: 'l', type: '2' })];
      return { name, seeds, repair: fixChecksums, run: (input) => parseTarHeader(padded(input)) };
    }
    case 'PAX records':
      return {
        name,
        seeds: [RECORDS],
        run: (input) => parsePaxTime(parsePaxRecords(input).get('mtime') ?? ''),
      };
    case 'tar':
      return { name, seeds: TARS, repair: fixChecksums, run: readTar };
    case 'layer, plain': {
      const run = (input: Buffer): void => checkIndex(input, input, indexPath);
      return { name, seeds: TARS, repair: fixChecksums, run };
    }
    case 'layer, gzip': {
      const run = (input: Buffer): void => checkIndex(input, inflated(input), indexPath);
      return { name, seeds: gzips(MIXED), run };
    }
    case 'index file': {
      const seeds = [gzipSync(MIXED), MIXED].map((blob) => indexFile(blob, indexPath));
      return { name, seeds, run: (input) => walkIndex(input, join(folder, 'damaged')) };
    }
    case 'stargz footer': {
      const seeds = [footerOf(7), footerOf(7, true)].map((end) => Buffer.concat([MIXED, end]));
      return { name, seeds, run: (input) => parseStargzFooter(input, input.length) };
    }
    case 'table of contents':
      return { name, seeds: [Buffer.from(TABLE)], run: readTable };
    case 'zTOC': {
      const seeds = [false, true].map((old) => ztocBytes(ztocPartsOf(gzipSync(MIXED), 65536, old)));
      return { name, seeds, run: readZtoc };
    }
  }
}

function readTable(input: Buffer): void {
  const chunks = [...parseJsonToc(input)].flatMap((one) => one.chunks);
  const { spans } = chunkSpans(chunks, 1000);
  for (const { blobOffset, blobLength } of spans) {
    if (blobLength < 1 || blobOffset + blobLength > 1000) throw new Error('a span lies outside');
  }
}

function readZtoc(input: Buffer): void {
  const ztoc = parseZtoc(input);
  let spans = 0;
  for (const _ of ztoc.compression === 'gzip' ? gzipSpans(ztoc) : tarSpans(ztoc)) spans += 1;
  if (spans > input.length) throw new Error(`${spans} spans in ${input.length} bytes`);
  for (const { entry, dataOffset } of ztoc.entries) {
    if (dataOffset + entry.size > ztoc.tarSize) throw new Error('a file lies outside the tar');
  }
}

/** As different writers make them. */
function gzips(tar: Buffer): Buffer[] {
  const members = [0, 1000, 2500].map((from, n, all) => tar.subarray(from, all[n + 1]));
  const named = gzipSync(tar);
  named[3] = 8;
  const withName = Buffer.concat([
    named.subarray(0, 10),
    Buffer.from('name\0'),
    named.subarray(10),
  ]);
  return [
    gzipSync(tar),
    gzipSync(tar, { level: 0 }),
    gzipSync(tar, { strategy: constants.Z_FIXED }),
    Buffer.concat(members.map((member) => gzipSync(member))),
    Buffer.concat([gzipSync(tar), Buffer.alloc(100)]),
    withName,
  ];
}

function readTar(input: Buffer): void {
  let content = 0;
  const reader = new TarReader(
    () => undefined,
    (bytes) => (content += bytes.length),
  );
  for (let at = 0; at < input.length; at += 700) reader.push(input.subarray(at, at + 700));
  reader.finish();
  if (content > input.length) throw new Error(`${content} bytes of content in ${input.length}`);
}

/** An index that is made must be that of the bytes that another decoder gives. */
function checkIndex(blob: Buffer, tar: Buffer | undefined, path: string): void {
  const { diffId, tarSize } = build(blob, path);
  if (tar === undefined) return;
  const digest = `sha256:${createHash('sha256').update(tar).digest('hex')}`;
  if (diffId !== digest || tarSize !== tar.length) throw new Error('the index is of another tar');
}

function build(blob: Buffer, path: string): LayerInfo {
  const builder = new IndexBuilder({ path });
  try {
    builder.push(blob);
    return builder.finish();
  } finally {
    builder.abort();
  }
}

function inflated(blob: Buffer): Buffer | undefined {
  try {
    return gunzipSync(blob);
  } catch {
    return undefined;
  }
}

function indexFile(blob: Buffer, path: string): Buffer {
  const builder = new IndexBuilder({ path });
  builder.push(blob);
  builder.finish();
  const bytes = readFileSync(path);
  builder.abort();
  return bytes;
}

/** Asks all there is to ask of an index. */
function walkIndex(bytes: Buffer, path: string): void {
  writeFileSync(path, bytes);
  using index = LayerIndex.open(path);
  const { tarSize, spanCount } = index.info;
  for (let span = 0; span < spanCount; span++) index.window(index.span(span).number);
  const todo = [rootIno];
  const seen = new Set(todo);
  for (let ino = todo.pop(); ino !== undefined && seen.size < MAX_LISTED; ino = todo.pop()) {
    for (const { inode } of index.readdir(ino, 0, 100)) {
      if (!seen.has(inode.ino)) todo.push(inode.ino);
      seen.add(inode.ino);
    }
    index.readlink(ino);
    for (const name of index.xattrNames(ino)) index.xattr(ino, name);
    for (const segment of index.segments(ino, 0, 1 << 20)) {
      if (segment.kind === 'data' && segment.tarOffset + segment.length > tarSize)
        throw new Error('a segment lies outside the tar');
    }
  }
}

function padded(input: Buffer): Buffer {
  return Buffer.concat([input, Buffer.alloc(BLOCK)]).subarray(0, BLOCK);
}

/** Of every block that looks like a header. */
function fixChecksums(input: Buffer): void {
  for (let at = 0; at + BLOCK <= input.length; at += BLOCK) {
    if (input.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    const block = input.subarray(at, at + BLOCK);
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
}

/**
 * The large files of a layer that were read, as plain files: a tree of these and of the directories that lead to them,
 * each with the attributes that the layer gives it, but for overlay's marks. It is to stand directly above the layer's own
 * folder in an overlay, which then reads the files from the tree and all else from the folder.
 *
 * Contents are decoded from the blob in its order, span by span, and compared with their digests; what is written is
 * looked at once more, since a file system may take other times or attributes than it was given.
 */

import { mkdir } from 'node:fs/promises';
import { SiphonError } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';
import { silentLogger } from '../common/log.js';
import { Urgency } from '../common/urgency.js';
import { dropThreadUmask } from '../ffi/at-calls.js';
import { withParents } from '../index/byte-path.js';
import { DirectoryFinder } from '../index/find-directory.js';
import { type Inode, LayerIndex, type Span } from '../index/layer-index.js';
import { SpanFetcher } from '../index/span-fetcher.js';
import { type ByteString, printable } from '../index/tar-header.js';
import { checkAttributes, entryOf } from './indexed-attributes.js';
import { type LargeFile, bytesOf, inTarOrder, largeFiles, spansOf, wasRead } from './large-file.js';
import { TreeWriter } from './tree-writer.js';

/**
 * Bytes of a path that can be removed, by whatever name a folder above it goes when it goes: PATH_MAX, less what such names
 * have besides.
 */
const MAX_PATH = 4096 - 64;

/** Plain data, which also travels to a thread. */
export interface LargeFilesJob {
  indexPath: string;
  /** Where the layer's blob lies. */
  blob: { path: string; offset: number; size: number };
  /** The folder that becomes the tree's root; nothing is there yet. */
  target: string;
  /** Bytes of the smallest file that is written. */
  leastSize: number;
  /** Bytes that there is room for. */
  room: number;
  /** One byte a span: a file was read where that of any of its spans is not 0. */
  presence: SharedArrayBuffer;
}

export interface LargeFilesWritten {
  /** How many files of that size the layer has, read or not. */
  large: number;
  /** Bytes of those that are in the tree; 0 where there is none. */
  bytes: number;
}

/**
 * Writes the tree, in a thread of its own: the umask of the calling thread is dropped. Nothing is written where no file was read;
 * those whose paths would be too long are left out.
 * @throws SiphonError `no-space` where there is no room, `unsupported` where the tree would not be as the layer has it,
 * `corrupt`, `cancelled`, the system error; the target may hold anything then
 */
export async function writeLargeFiles(
  job: LargeFilesJob,
  signal: AbortSignal,
): Promise<LargeFilesWritten> {
  using index = LayerIndex.open(job.indexPath);
  const all = await largeFiles(index, job.leastSize, signal);
  const longest = MAX_PATH - Buffer.byteLength(job.target);
  const files = inTarOrder(
    all.filter(
      (file) =>
        wasRead(index, file, job.presence) && file.paths.every(({ length }) => length <= longest),
    ),
  );
  const bytes = files.reduce((sum, { pieces }) => sum + bytesOf(pieces), 0);
  if (bytes > job.room)
    throw new SiphonError(
      'no-space',
      `Cannot keep large files of layer "${index.info.blobDigest}" apart: there is room for ${job.room} bytes, expected ${bytes}`,
    );
  if (files.length === 0) return { large: all.length, bytes: 0 };
  await mkdir(job.target, { mode: 0o755 });
  const tree = { target: job.target, form: 'overlay', rootEntry: true, parents: [] } as const;
  const writer = new TreeWriter(tree, dropThreadUmask());
  try {
    await writeContents(index, { files, writer, job, signal });
    // Last: what is made in a directory may take after it.
    const directories = directoriesOf(index, files);
    for (const [path, inode] of directories) writer.add(entryOf(index, inode, path));
    writer.finish();
    const names = files.flatMap(({ inode, paths }) => paths.map((path) => [path, inode] as const));
    checkAttributes(index, job.target, [...names, ...directories]);
  } finally {
    writer.close();
  }
  return { large: all.length, bytes };
}

interface Contents {
  files: readonly LargeFile[];
  writer: TreeWriter;
  job: LargeFilesJob;
  signal: AbortSignal;
}

/** Decodes what the files need, each span once, and hands it on to the file that is at its turn. */
async function writeContents(
  index: LayerIndex,
  { files, writer, job: { blob }, signal }: Contents,
): Promise<void> {
  const sink = new FileSink(index, files, writer);
  const fetcher = new SpanFetcher({
    index,
    cache: sink,
    unkept: { add: raise, kept: () => undefined },
    open: () => FileBlob.open(blob.path, blob),
    log: silentLogger,
  });
  const context = { signal, urgency: new Urgency('fill') };
  const numbers = files.flatMap(({ pieces }) => pieces.flatMap((piece) => spansOf(index, piece)));
  try {
    for (const run of runsOf(index, new Set(numbers))) {
      const [first] = run;
      if (first === undefined) continue;
      if (index.hasOwnEntry(first.number)) await fetcher.fetchRun(run, context);
      else await fetcher.fetchGroup(run, context, () => undefined);
    }
  } finally {
    await fetcher.close();
  }
}

/** What is decoded in one go: a span, or those of a group. */
function* runsOf(index: LayerIndex, numbers: ReadonlySet<number>): Generator<Span[]> {
  let done = -1;
  for (const number of numbers) {
    if (number <= done) continue;
    const run = index.hasOwnEntry(number)
      ? [index.span(number)]
      : index.group(number).filter((span) => numbers.has(span.number));
    done = run.at(-1)?.number ?? number;
    yield run;
  }
}

function raise(_: unknown, __: unknown, because: unknown): never {
  throw because;
}

/** Takes verified spans in their order, and writes what of them is in a file. */
class FileSink {
  readonly #index: LayerIndex;
  readonly #writer: TreeWriter;
  /** Those that are not written, the next one first. */
  readonly #pieces: { file: LargeFile; piece: LargeFile['pieces'][number] }[];
  #taken = -1;

  constructor(index: LayerIndex, files: readonly LargeFile[], writer: TreeWriter) {
    this.#index = index;
    this.#writer = writer;
    this.#pieces = files.flatMap((file) => file.pieces.map((piece) => ({ file, piece })));
  }

  has(span: number): boolean {
    return span <= this.#taken;
  }

  write(span: number, spanOffset: number, bytes: Buffer): Promise<void> {
    const spanEnd = spanOffset + bytes.length;
    for (let next; (next = this.#pieces[0]) !== undefined; this.#pieces.shift()) {
      const { file, piece } = next;
      if (piece.tarOffset >= spanEnd) break;
      const end = piece.tarOffset + piece.length;
      if (piece.tarOffset >= spanOffset && piece === file.pieces[0]) this.#begin(file);
      const from = Math.max(piece.tarOffset, spanOffset) - spanOffset;
      this.#writer.content(bytes.subarray(from, Math.min(end, spanEnd) - spanOffset));
      if (end > spanEnd) break;
      if (piece === file.pieces.at(-1)) this.#link(file);
    }
    this.#taken = span;
    return Promise.resolve();
  }

  #begin({ inode, paths: [path = ''], pieces }: LargeFile): void {
    const isWhole = bytesOf(pieces) === inode.size;
    const stored = pieces.map(({ fileOffset: offset, length }) => ({ offset, length }));
    const entry = entryOf(this.#index, inode, path);
    this.#writer.add(isWhole ? entry : { ...entry, pieces: stored });
  }

  #link({ inode, paths: [linkPath = '', ...others] }: LargeFile): void {
    for (const path of others) {
      const entry = entryOf(this.#index, inode, path);
      this.#writer.add({ ...entry, type: 'hardlink', linkPath });
    }
  }
}

/** The root and all directories that lead to the files, by their paths. */
function directoriesOf(index: LayerIndex, files: readonly LargeFile[]): Map<ByteString, Inode> {
  const finder = new DirectoryFinder(index);
  const directories = new Map<ByteString, Inode>();
  for (const path of files.flatMap(({ paths }) => paths)) {
    for (const one of withParents(path.slice(0, Math.max(0, path.lastIndexOf('/'))))) {
      if (directories.has(one)) continue;
      const { found } = finder.find(one);
      if (typeof found === 'string') throw index.damage(`"${printable(one)}" is no directory`);
      directories.set(one, found);
    }
  }
  return directories;
}

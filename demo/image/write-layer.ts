/** Entries to one layer blob: tar, gzip, both digests, in one streaming pass. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { type Header, type Pack, pack } from 'tar-stream';
import { type Digest, type DiffId, digestFromHash, digestHex } from '#src/common/digest.js';
import { temporaryName } from '#src/common/atomic-file.js';
import { type Content, type Entry, FIXED_MTIME } from './entry.js';

export type LayerCompression = 'gzip' | 'none';

/** Entries to be packed, or a tar file as it is. */
export type LayerContents = Iterable<Entry> | { tar: string };

export interface WrittenLayer {
  compression: LayerCompression;
  digest: Digest;
  size: number;
  diffId: DiffId;
  tarSize: number;
}

const GZIP_LEVEL = 6;

type EntryHeader = Partial<Header> & { name: string };
type Sink = ReturnType<Pack['entry']>;

/** Writes the layer to `<folder>/<hex digest>`; `signal` ends it early. */
export async function writeLayer(
  folder: string,
  contents: LayerContents,
  options: { compression?: LayerCompression; signal?: AbortSignal } = {},
): Promise<WrittenLayer> {
  const { compression = 'gzip' } = options;
  const temporary = temporaryName(join(folder, 'layer'));
  try {
    const written = await stream(contents, { ...options, compression, path: temporary });
    await rename(temporary, join(folder, digestHex(written.digest)));
    return written;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

interface StreamOptions {
  path: string;
  compression: LayerCompression;
  signal?: AbortSignal;
}

async function stream(contents: LayerContents, options: StreamOptions): Promise<WrittenLayer> {
  const { path, compression, signal } = options;
  // Opened before anything can fail: a file that appears after its removal would stay.
  const file = await open(path, 'wx');
  const { tar, packing } = openTar(contents);
  const [plain, stored] = [new Meter(), new Meter()];
  const compressor = compression === 'gzip' ? createGzip({ level: GZIP_LEVEL }) : new PassThrough();
  await Promise.all([
    pipeline(
      tar,
      (chunks) => plain.pass(chunks),
      compressor,
      (chunks) => stored.pass(chunks),
      file.createWriteStream(),
      { signal },
    ),
    packing,
  ]);
  return {
    compression,
    digest: stored.digest(),
    size: stored.length,
    diffId: plain.digest() as DiffId, // this is where a diff id comes from
    tarSize: plain.length,
  };
}

interface OpenTar {
  tar: AsyncIterable<Uint8Array>;
  /** Until all entries are in it. */
  packing: Promise<void>;
}

function openTar(contents: LayerContents): OpenTar {
  if ('tar' in contents) return { tar: createReadStream(contents.tar), packing: Promise.resolve() };
  const tar = pack();
  tar.on('error', () => {}); // the pipeline reports it
  // streamx types all that it reads as unknown
  return { tar: tar as AsyncIterable<Uint8Array>, packing: packAll(tar, contents) };
}

/** Hashes and counts what flows through. */
class Meter {
  length = 0;
  readonly #hash = createHash('sha256');

  async *pass(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#hash.update(chunk);
      this.length += chunk.length;
      yield chunk;
    }
  }

  digest(): Digest {
    return digestFromHash(this.#hash.digest());
  }
}

async function packAll(tar: Pack, entries: Iterable<Entry>): Promise<void> {
  try {
    for (const entry of entries) await packEntry(tar, entry);
    tar.finalize();
  } catch (error) {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

function packEntry(tar: Pack, entry: Entry): Promise<void> {
  return new Promise((resolve, reject) => {
    const sink = tar.entry(headerOf(entry), (error) => (error ? reject(error) : resolve()));
    sink.on('error', reject);
    if (entry.kind === 'file') fill(sink, entry.content).catch(reject);
    else sink.end(null);
  });
}

async function fill(sink: Sink, content: Content): Promise<void> {
  for await (const chunk of content.read()) {
    if (!sink.write(chunk)) await once(sink, 'drain');
  }
  sink.end(null);
}

function headerOf(entry: Entry): EntryHeader {
  const { mode, uid = 0, gid = 0, mtime = FIXED_MTIME, xattrs = {} } = entry.attributes;
  const common = { name: entry.path, uid, gid, mtime, pax: paxXattrs(xattrs) };
  switch (entry.kind) {
    case 'directory':
      return { ...common, type: 'directory', mode: mode ?? 0o755 };
    case 'file':
      return { ...common, type: 'file', mode: mode ?? 0o644, size: entry.content.size };
    case 'symlink':
      return { ...common, type: 'symlink', mode: 0o777, linkname: entry.target };
    case 'hard-link':
      return { ...common, type: 'link', mode: mode ?? 0o644, linkname: entry.target };
    case 'character-device':
    case 'block-device':
      return {
        ...common,
        type: entry.kind,
        mode: mode ?? 0o600,
        devmajor: entry.major,
        devminor: entry.minor,
      };
    case 'fifo':
      return { ...common, type: 'fifo', mode: mode ?? 0o644 };
  }
}

/** Extended attributes as GNU tar and containerd write them; `null` where there are none. */
function paxXattrs(xattrs: Record<string, string>): Record<string, string> | null {
  const names = Object.keys(xattrs);
  if (names.length === 0) return null;
  return Object.fromEntries(names.map((name) => [`SCHILY.xattr.${name}`, xattrs[name] ?? '']));
}

/** Entries to one layer blob: tar, gzip, both digests, in one streaming pass. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { type Header, type Pack, pack } from 'tar-stream';
import { type Digest, type DiffId, digestFromHash, digestHex } from '#src/common/digest.js';
import { temporaryName } from '#src/common/atomic-file.js';
import { type Content, type Entry, FIXED_MTIME } from './entry.js';

export type LayerCompression = 'gzip' | 'none';

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

/** Writes the layer to `<folder>/<hex digest>`. */
export async function writeLayer(
  folder: string,
  entries: Iterable<Entry>,
  compression: LayerCompression = 'gzip',
): Promise<WrittenLayer> {
  const temporary = temporaryName(join(folder, 'layer'));
  const tar = pack();
  const packed = tar as AsyncIterable<Uint8Array>; // streamx types all that it reads as unknown
  const [tarTap, blobTap] = [new Tap(), new Tap()];
  const output = createWriteStream(temporary);
  const piped =
    compression === 'gzip'
      ? pipeline(packed, tarTap.pass, createGzip({ level: GZIP_LEVEL }), blobTap.pass, output)
      : pipeline(packed, tarTap.pass, blobTap.pass, output);
  await Promise.all([piped, packAll(tar, entries)]);
  const digest = digestFromHash(blobTap.digest());
  await rename(temporary, join(folder, digestHex(digest)));
  const { size } = await stat(join(folder, digestHex(digest)));
  const diffId = digestFromHash(tarTap.digest()) as DiffId; // this is where a diff id comes from
  return { compression, digest, size, diffId, tarSize: tarTap.length };
}

/** Hashes and counts what flows through. */
class Tap {
  length = 0;
  readonly #hash = createHash('sha256');

  readonly pass = async function* (this: Tap, chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      this.#hash.update(chunk);
      this.length += chunk.length;
      yield chunk;
    }
  }.bind(this);

  digest(): Buffer {
    return this.#hash.digest();
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

async function packEntry(tar: Pack, entry: Entry): Promise<void> {
  const header = headerOf(entry);
  if (entry.kind === 'file' && entry.content.size > 0) return packFile(tar, header, entry.content);
  await new Promise<void>((resolve, reject) => {
    tar.entry(header, (error) => (error ? reject(error) : resolve())).end(null);
  });
}

async function packFile(tar: Pack, header: EntryHeader, content: Content): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const sink = tar.entry(header, (error) => (error ? reject(error) : resolve()));
    fill(sink, content).catch(reject);
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

/** Extended attributes as GNU tar and containerd write them. */
function paxXattrs(xattrs: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(xattrs).map(([name, value]) => [`SCHILY.xattr.${name}`, value]),
  );
}

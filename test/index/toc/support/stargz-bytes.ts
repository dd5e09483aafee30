/**
 * eStargz layers from tar entries, written by the book (stargz-snapshotter, docs/estargz.md): a gzip
 * member for each chunk, one with the table of contents, and the footer. Whatever a test wants to be
 * wrong can be changed on the way.
 */

import { gzipSync } from 'node:zlib';
import { type Digest, digestOf } from '#src/common/digest.js';
import { type TarEntry, file, tarOf } from '../../../support/images.js';

/** An entry of the table, as its JSON has it. */
export type TocFields = Record<string, unknown>;

export interface StargzOptions {
  chunkSize?: number;
  /** Files that share a member, by its first file's path: all but the first have an inner offset. */
  together?: readonly string[];
  /** Changes the table before it is written. */
  change?: (entries: TocFields[]) => TocFields[];
  /** What stands in the footer in place of the table's offset. */
  tocOffset?: number;
  /** With the footer of 47 bytes that stargz had, and no digests of chunks. */
  legacy?: boolean;
}

export interface Stargz {
  blob: Buffer;
  /** The layer's tar, uncompressed, without the table. */
  tar: Buffer;
  /** Of the table's JSON. */
  digest: Digest;
  tocOffset: number;
}

const BLOCK = 512;
const END = Buffer.alloc(1024);
const TYPES: Readonly<Record<string, string>> = {
  file: 'reg',
  directory: 'dir',
  symlink: 'symlink',
  link: 'hardlink',
  'character-device': 'char',
  'block-device': 'block',
  fifo: 'fifo',
};

export async function stargzOf(
  entries: readonly TarEntry[],
  options: StargzOptions = {},
): Promise<Stargz> {
  const writer = new MemberWriter();
  let listed: TocFields[] = [];
  for (const entry of entries) {
    const bytes = (await tarOf([entry])).subarray(0, -END.length);
    const content = entry.content ?? Buffer.alloc(0);
    const start = bytes.length - Math.ceil(content.length / BLOCK) * BLOCK;
    writer.add(bytes.subarray(0, start));
    listed.push(...contentOf(entry, content, { writer, options }));
    writer.add(bytes.subarray(start + content.length));
  }
  writer.add(END);
  writer.begin();
  if (options.legacy === true) listed = listed.map(withoutDigests);
  const changed = options.change?.(listed) ?? listed;
  const json = Buffer.from(JSON.stringify({ version: 1, entries: changed }));
  const tocOffset = writer.size;
  const toc = gzipSync(await tarOf([file('stargz.index.json', json)]));
  const footer = footerOf(options.tocOffset ?? tocOffset, options.legacy === true);
  const blob = Buffer.concat([writer.blob(), toc, footer]);
  return { blob, tar: writer.tar(), digest: digestOf(json), tocOffset };
}

function withoutDigests(fields: TocFields): TocFields {
  return { ...fields, digest: undefined, chunkDigest: undefined };
}

/** The empty member at the end of a blob. */
export function footerOf(tocOffset: number, legacy = false): Buffer {
  const mark = Buffer.from(`${tocOffset.toString(16).padStart(16, '0')}STARGZ`);
  const field = legacy ? mark : Buffer.concat([Buffer.from('SG\x16\0', 'latin1'), mark]);
  const header = Buffer.from('1f8b0804000000000000'.concat('0000'), 'hex');
  header[9] = 0xff;
  header.writeUInt16LE(field.length, 10);
  return Buffer.concat([header, field, Buffer.from('010000ffff', 'hex'), Buffer.alloc(8)]);
}

function contentOf(
  entry: TarEntry,
  content: Buffer,
  { writer, options }: { writer: MemberWriter; options: StargzOptions },
): TocFields[] {
  const { chunkSize = 1 << 20, together = [] } = options;
  const name = String(entry.path);
  const head = fieldsOf(entry, content);
  const fields: TocFields[] = [];
  for (let at = 0; at < content.length; at += chunkSize) {
    if (!together.includes(name) || at > 0) writer.begin();
    const chunk = content.subarray(at, at + chunkSize);
    const place = { offset: writer.size, ...(writer.inner > 0 && { innerOffset: writer.inner }) };
    writer.add(chunk);
    const isLast = at + chunkSize >= content.length;
    const extent = { chunkOffset: at, ...(!isLast && { chunkSize }), chunkDigest: digestOf(chunk) };
    fields.push({ ...(at === 0 ? head : { name, type: 'chunk' }), ...place, ...extent });
  }
  return fields.length === 0 ? [head] : fields;
}

function fieldsOf(entry: TarEntry, content: Buffer): TocFields {
  const { mtime = 1_700_000_000, target, xattrs = {}, mode, uid, gid, major, minor } = entry;
  const packed = Object.entries(xattrs).map(([key, value]) => [
    key,
    Buffer.from(value as string).toString('base64'),
  ]);
  return {
    name: String(entry.path),
    type: TYPES[entry.type ?? ''] ?? 'reg',
    mode,
    uid,
    gid,
    devMajor: major,
    devMinor: minor,
    modtime: new Date(mtime * 1000).toISOString(),
    ...(entry.type === 'file' && { size: content.length, digest: digestOf(content) }),
    ...(target !== undefined && { linkName: String(target) }),
    ...(packed.length > 0 && { xattrs: Object.fromEntries(packed) }),
  };
}

/** A blob of gzip members, one open. */
class MemberWriter {
  readonly #members: Buffer[] = [];
  readonly #plain: Buffer[] = [];
  #open: Buffer[] = [];
  /** Bytes of the closed members. */
  size = 0;
  /** Plain bytes in the open member. */
  inner = 0;

  add(bytes: Buffer): void {
    this.#open.push(bytes);
    this.#plain.push(bytes);
    this.inner += bytes.length;
  }

  /** Closes the open member, where it has anything. */
  begin(): void {
    if (this.inner === 0) return;
    const member = gzipSync(Buffer.concat(this.#open));
    this.#members.push(member);
    this.size += member.length;
    this.#open = [];
    this.inner = 0;
  }

  blob(): Buffer {
    return Buffer.concat(this.#members);
  }

  tar(): Buffer {
    return Buffer.concat(this.#plain);
  }
}

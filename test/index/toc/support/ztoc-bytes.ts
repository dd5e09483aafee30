/**
 * zTOCs by the published format (soci-snapshotter, ztoc/fbs/ztoc.fbs and ztoc/compression): entries from
 * the layer's tar, checkpoints from an index of it, digests of the spans' bytes in the blob. Whatever a
 * test wants to be wrong can be changed on the way.
 */

import { gunzipSync } from 'node:zlib';
import { Builder } from 'flatbuffers';
import { digestOf } from '#src/common/digest.js';
import type { LayerIndex } from '#src/index/layer-index.js';
import type { TarEntry } from '#src/index/tar-entry.js';
import { TarReader } from '#src/index/tar-reader.js';
import { indexOf } from '../../support/layers.js';

export interface ZtocParts {
  version: string;
  blobSize: number;
  tarSize: number;
  /** 1 is gzip, 2 an uncompressed tar. */
  algorithm: number;
  digests: string[];
  checkpoints: Buffer;
  files: ZtocFile[];
}

export interface ZtocFile {
  entry: TarEntry;
  dataOffset: number;
  type: string;
  modTime: string;
  /** PAX records. */
  records: [string, string][];
}

interface Point {
  blob: number;
  tar: number;
  bits: number;
  window: Buffer;
}

const WINDOW = 32768;
const TYPES: Readonly<Record<TarEntry['type'], string>> = {
  file: 'reg',
  directory: 'dir',
  symlink: 'symlink',
  hardlink: 'hardlink',
  character: 'char',
  block: 'block',
  fifo: 'fifo',
  // Whatever becomes no file.
  global: '',
  unknown: '',
};
const GZIP_HEADER = 10;

/**
 * The parts of a zTOC of a gzip layer whose header has no options, with checkpoints about `spanSize` apart.
 * @param old leaves out the first checkpoint, as the first version of the format does
 */
export function ztocPartsOf(blob: Buffer, spanSize: number, old = false): ZtocParts {
  const tar = gunzipSync(blob);
  const points = pointsOf(indexOf(blob, { spanSize }));
  return {
    version: old ? '0.9' : '1.0',
    blobSize: blob.length,
    tarSize: tar.length,
    algorithm: 1,
    digests: points.map(({ blob: at, bits }, i) => {
      const end = points[i + 1]?.blob ?? blob.length;
      return digestOf(blob.subarray(bits === 0 ? at : at - 1, end));
    }),
    checkpoints: packPoints(points, old),
    files: filesOf(tar),
  };
}

/** The same of an uncompressed layer. */
export function plainZtocPartsOf(tar: Buffer, spanSize: number): ZtocParts {
  const checkpoints = Buffer.alloc(20);
  checkpoints.writeInt32LE(2, 0);
  checkpoints.writeBigInt64LE(BigInt(spanSize), 4);
  checkpoints.writeBigInt64LE(BigInt(tar.length), 12);
  const digests: string[] = [];
  for (let at = 0; at < tar.length; at += spanSize)
    digests.push(digestOf(tar.subarray(at, at + spanSize)));
  const sizes = { blobSize: tar.length, tarSize: tar.length };
  return { version: '1.0', ...sizes, algorithm: 2, digests, checkpoints, files: filesOf(tar) };
}

export function ztocBytes(parts: ZtocParts): Buffer {
  const builder = new Builder(1024);
  const version = builder.createString(parts.version);
  const tool = builder.createString('siphon tests');
  const files = parts.files.map((file) => writeFile(builder, file));
  const metadata = vector(builder, files);
  builder.startObject(1);
  builder.addFieldOffset(0, metadata, 0);
  const toc = builder.endObject();
  const digests = vector(
    builder,
    parts.digests.map((digest) => builder.createString(digest)),
  );
  builder.startVector(1, parts.checkpoints.length, 1);
  for (const byte of parts.checkpoints.toReversed()) builder.addInt8(byte);
  const checkpoints = builder.endVector();
  builder.startObject(4);
  // A field with its default is left out.
  builder.addFieldInt8(0, parts.algorithm, 1);
  builder.addFieldInt32(1, parts.digests.length - 1, 0);
  builder.addFieldOffset(2, digests, 0);
  builder.addFieldOffset(3, checkpoints, 0);
  const compression = builder.endObject();
  builder.startObject(6);
  builder.addFieldOffset(0, version, 0);
  builder.addFieldOffset(1, tool, 0);
  builder.addFieldInt64(2, BigInt(parts.blobSize), 0n);
  builder.addFieldInt64(3, BigInt(parts.tarSize), 0n);
  builder.addFieldOffset(4, toc, 0);
  builder.addFieldOffset(5, compression, 0);
  builder.finish(builder.endObject());
  return Buffer.from(builder.asUint8Array());
}

function writeFile(
  builder: Builder,
  { entry, dataOffset, type, modTime, records }: ZtocFile,
): number {
  const text = (value: string): number => builder.createString(Buffer.from(value, 'latin1'));
  const name = text(entry.path);
  const kind = text(type);
  const linkName = text(entry.linkPath);
  const time = text(modTime);
  const pairs = records.map(([key, value]) => {
    const [left, right] = [text(key), text(value)];
    builder.startObject(2);
    builder.addFieldOffset(0, left, 0);
    builder.addFieldOffset(1, right, 0);
    return builder.endObject();
  });
  const xattrs = vector(builder, pairs);
  builder.startObject(14);
  builder.addFieldOffset(0, name, 0);
  builder.addFieldOffset(1, kind, 0);
  builder.addFieldInt64(2, BigInt(dataOffset), 0n);
  builder.addFieldInt64(3, BigInt(entry.size), 0n);
  builder.addFieldOffset(4, linkName, 0);
  builder.addFieldInt64(5, BigInt(entry.mode), 0n);
  builder.addFieldInt32(6, entry.uid, 0);
  builder.addFieldInt32(7, entry.gid, 0);
  builder.addFieldOffset(10, time, 0);
  builder.addFieldInt64(11, BigInt(entry.devMajor), 0n);
  builder.addFieldInt64(12, BigInt(entry.devMinor), 0n);
  builder.addFieldOffset(13, xattrs, 0);
  return builder.endObject();
}

function vector(builder: Builder, offsets: readonly number[]): number {
  builder.startVector(4, offsets.length, 4);
  for (const offset of offsets.toReversed()) builder.addOffset(offset);
  return builder.endVector();
}

function filesOf(tar: Buffer): ZtocFile[] {
  const files: ZtocFile[] = [];
  const reader = new TarReader((entry, dataOffset) => {
    const { mtimeSeconds, mtimeNanoseconds, xattrs } = entry;
    const whole = new Date(mtimeSeconds * 1000).toISOString().slice(0, 19);
    files.push({
      entry,
      dataOffset,
      type: TYPES[entry.type],
      modTime: `${whole}.${String(mtimeNanoseconds).padStart(9, '0')}Z`,
      // Go keeps all records of the entry.
      records: [
        ['path', entry.path],
        ...xattrs.map(({ name, value }): [string, string] => [`SCHILY.xattr.${name}`, value]),
      ],
    });
  });
  reader.push(tar);
  reader.finish();
  return files;
}

function pointsOf(index: LayerIndex): Point[] {
  const points: Point[] = [];
  for (let number = 0; number < index.info.spanCount; number++) {
    const { blobOffset, tarOffset, bits } = index.span(number);
    const blob = number === 0 ? GZIP_HEADER : blobOffset + (bits === 0 ? 0 : 1);
    const known = index.window(number) ?? Buffer.alloc(0);
    const window = Buffer.concat([Buffer.alloc(WINDOW - known.length), known]);
    points.push({ blob, tar: tarOffset, bits, window });
  }
  return points;
}

function packPoints(points: readonly Point[], old: boolean): Buffer {
  const header = Buffer.alloc(12);
  header.writeInt32LE(points.length, 0);
  const packed = points.slice(old ? 1 : 0).map(({ blob, tar, bits, window }) => {
    const place = Buffer.alloc(17);
    place.writeBigInt64LE(BigInt(blob), 0);
    place.writeBigInt64LE(BigInt(tar), 8);
    place[16] = bits;
    return Buffer.concat([place, window]);
  });
  return Buffer.concat([header, ...packed]);
}

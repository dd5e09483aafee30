/**
 * Real images from lists of tar entries: `tarOf([dir('etc'), file('etc/passwd', '…')])` makes a tar,
 * `buildLayout(folder, { tag: 'app', layers: [[…], […]] })` an OCI layout, or adds an image to one.
 */

import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { type DiffId, digestOf, parseDiffId } from '#src/common/digest.js';
import { createLayout, listInIndex, writeBlob } from '#src/content/layout-writer.js';
import { refAnnotation } from '#src/content/layout.js';
import { type Descriptor, type Platform, mediaTypes } from '#src/remote/descriptor.js';

export interface Attributes {
  /** Permission bits, set-id bits included. */
  mode?: number;
  uid?: number;
  gid?: number;
  /** Seconds since the epoch; fractions are kept. */
  mtime?: number;
  xattrs?: Record<string, string | Buffer>;
}

export interface TarEntry extends Attributes {
  /** A buffer where it is no UTF-8. */
  path: string | Buffer;
  type: Header['type'];
  content?: Buffer;
  /** Target of a link. */
  target?: string | Buffer;
  major?: number;
  minor?: number;
}

/** What entries get that name no time: a moment in 2023. */
export const defaultMtime = 1_700_000_000;

/** Two zero blocks. */
const END_LENGTH = 1024;
const CHECKSUM_OFFSET = 148;
const TYPE_OFFSET = 156;

type HeaderInput = Pick<Header, 'name'> & Partial<Header>;

export function file(
  path: string | Buffer,
  content: string | Buffer = '',
  attributes: Attributes = {},
): TarEntry {
  return { path, type: 'file', content: Buffer.from(content), mode: 0o644, ...attributes };
}

export function fileWithXattrs(
  path: string,
  content: string | Buffer,
  xattrs: Record<string, string | Buffer>,
): TarEntry {
  return file(path, content, { xattrs });
}

export function dir(path: string | Buffer, attributes: Attributes = {}): TarEntry {
  return { path, type: 'directory', mode: 0o755, ...attributes };
}

export function symlink(
  path: string | Buffer,
  target: string | Buffer,
  attributes: Attributes = {},
): TarEntry {
  return { path, type: 'symlink', target, mode: 0o777, ...attributes };
}

export function hardlink(path: string, target: string, attributes: Attributes = {}): TarEntry {
  return { path, type: 'link', target, mode: 0o644, ...attributes };
}

/** A character device, unless `type` says otherwise. */
export function device(
  path: string,
  numbers: { major: number; minor: number; type?: 'block-device' | 'character-device' },
  attributes: Attributes = {},
): TarEntry {
  return { type: 'character-device', path, mode: 0o600, ...numbers, ...attributes };
}

export function fifo(path: string, attributes: Attributes = {}): TarEntry {
  return { path, type: 'fifo', mode: 0o644, ...attributes };
}

/** Hides `path` of the layers below. */
export function whiteout(path: string): TarEntry {
  return file(posix.join(posix.dirname(path), `.wh.${posix.basename(path)}`));
}

/** Hides what the layers below have in the folder `path`. */
export function opaque(path: string): TarEntry {
  return file(posix.join(path, '.wh..wh..opq'));
}

/** The same bytes for the same entries. */
export async function tarOf(entries: readonly TarEntry[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    const records = paxRecords(entry);
    if (records.length > 0) parts.push(await paxHeader(Buffer.concat(records)));
    parts.push(await packMember(headerOf(entry), entry.content));
  }
  return Buffer.concat([...parts, Buffer.alloc(END_LENGTH)]);
}

export interface ImageOptions {
  /** Reference names in `index.json`; default none. */
  tag?: string | string[];
  /** Bottom first; entries, or a finished tar. */
  layers: readonly (readonly TarEntry[] | Buffer)[];
  /** Default gzip. */
  compression?: 'gzip' | 'none';
  /** The `config` part of the image config: `{ Env, Cmd, … }`. */
  config?: Record<string, unknown>;
  /** Default linux/amd64 or what this machine is. */
  platform?: Platform;
  /** Docker's media types (schema 2) in place of OCI's. */
  docker?: boolean;
}

export interface BuiltImage {
  layout: string;
  /** Of the manifest. */
  manifest: Descriptor;
  config: Descriptor;
  /** Of the layer blobs, bottom first. */
  layers: Descriptor[];
  diffIds: DiffId[];
  /** Layer tars, uncompressed. */
  tars: Buffer[];
}

export interface BuiltIndex {
  layout: string;
  index: Descriptor;
  images: BuiltImage[];
}

/** Makes an image in the OCI layout `layout`, which is made where it is missing. */
export async function buildLayout(layout: string, options: ImageOptions): Promise<BuiltImage> {
  const image = await writeImage(layout, options);
  await tagAs(layout, image.manifest, options.tag);
  return image;
}

/** Makes an image index of one image for each platform; `nested` puts it inside another index. */
export async function buildIndexLayout(
  layout: string,
  options: { tag?: string; nested?: boolean; images: readonly ImageOptions[] },
): Promise<BuiltIndex> {
  const images: BuiltImage[] = [];
  for (const image of options.images) images.push(await writeImage(layout, image));
  const entries = images.map(({ manifest }, at) => ({
    ...manifest,
    platform: options.images[at]?.platform ?? hostPlatform(),
  }));
  let index = await writeIndexBlob(layout, entries);
  if (options.nested === true) index = await writeIndexBlob(layout, [index]);
  await tagAs(layout, index, options.tag);
  return { layout, index, images };
}

/** Bytes that gzip cannot shrink, the same for the same seed. */
export function noise(length: number, seed = 'noise'): Buffer {
  return createHash('shake256', { outputLength: length }).update(seed).digest();
}

/** `linux/<architecture>` of this machine, as images name it. */
export function hostPlatform(): Platform {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  return { os: 'linux', architecture };
}

async function writeImage(layout: string, options: ImageOptions): Promise<BuiltImage> {
  await createLayout(layout);
  const { docker = false, compression = 'gzip', platform = hostPlatform() } = options;
  const tars: Buffer[] = [];
  for (const layer of options.layers) {
    tars.push(Buffer.isBuffer(layer) ? layer : await tarOf(layer));
  }
  const diffIds = tars.map((tar) => parseDiffId(digestOf(tar)));
  const layers: Descriptor[] = [];
  for (const tar of tars) {
    const bytes = compression === 'gzip' ? gzipSync(tar) : tar;
    layers.push(await writeBlob(layout, bytes, layerType(docker, compression)));
  }
  const config = await writeJson(
    layout,
    {
      ...platform,
      created: new Date(defaultMtime * 1000).toISOString(),
      config: options.config ?? {},
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: layers.map(() => ({ created_by: 'test' })),
    },
    docker ? mediaTypes.dockerConfig : mediaTypes.ociConfig,
  );
  const mediaType = docker ? mediaTypes.dockerManifest : mediaTypes.ociManifest;
  const manifest = await writeJson(
    layout,
    { schemaVersion: 2, mediaType, config, layers },
    mediaType,
  );
  return { layout, manifest, config, layers, diffIds, tars };
}

function writeIndexBlob(layout: string, manifests: Descriptor[]): Promise<Descriptor> {
  const mediaType = mediaTypes.ociIndex;
  return writeJson(layout, { schemaVersion: 2, mediaType, manifests }, mediaType);
}

function writeJson(layout: string, document: object, mediaType: string): Promise<Descriptor> {
  return writeBlob(layout, Buffer.from(JSON.stringify(document)), mediaType);
}

async function tagAs(
  layout: string,
  descriptor: Descriptor,
  tag: string | string[] | undefined,
): Promise<void> {
  const { signal } = new AbortController();
  const tags = tag === undefined ? [undefined] : [tag].flat();
  for (const name of tags) {
    const annotations = name === undefined ? {} : { annotations: { [refAnnotation]: name } };
    await listInIndex(layout, { ...descriptor, ...annotations }, signal);
  }
}

function layerType(docker: boolean, compression: 'gzip' | 'none'): string {
  if (docker) return compression === 'gzip' ? mediaTypes.dockerLayerGzip : mediaTypes.dockerLayer;
  return compression === 'gzip' ? mediaTypes.ociLayerGzip : mediaTypes.ociLayer;
}

function headerOf(entry: TarEntry): HeaderInput {
  const { type, mtime = defaultMtime } = entry;
  return {
    name: inUstar(entry.path, 'path') + (type === 'directory' ? '/' : ''),
    type,
    mode: entry.mode ?? 0o644,
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    mtime: new Date(Math.floor(mtime) * 1000),
    ...(entry.target === undefined ? {} : { linkname: inUstar(entry.target, 'target') }),
    ...(entry.major === undefined ? {} : { devmajor: entry.major }),
    ...(entry.minor === undefined ? {} : { devminor: entry.minor }),
  };
}

/** Header, data and padding of one member, without the end of an archive. */
async function packMember(header: HeaderInput, content?: Buffer): Promise<Buffer> {
  const tar = pack();
  if (content === undefined) tar.entry(header);
  else tar.entry(header, content);
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).subarray(0, -END_LENGTH);
}

/** tar-stream's own extended headers hold UTF-8 only: this one is packed as a file and renamed. */
async function paxHeader(records: Buffer): Promise<Buffer> {
  const mtime = new Date(defaultMtime * 1000);
  const member = await packMember({ name: 'PaxHeader', type: 'file', mode: 0o644, mtime }, records);
  member.write('x', TYPE_OFFSET);
  member.write(' '.repeat(8), CHECKSUM_OFFSET);
  const sum = member.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  member.write(`${sum.toString(8).padStart(6, '0')}\0 `, CHECKSUM_OFFSET);
  return member;
}

/** The name itself, or what stands in for one that only an extended header can hold. */
function inUstar(name: string | Buffer, standIn: string): string {
  return needsPax(name) ? standIn : name.toString();
}

function needsPax(name: string | Buffer): boolean {
  const bytes = Buffer.from(name);
  return bytes.length > 99 || bytes.some((byte) => byte >= 0x80);
}

function paxRecords(entry: TarEntry): Buffer[] {
  const { path, target, mtime = defaultMtime, xattrs = {}, uid = 0, gid = 0 } = entry;
  const records: Buffer[] = [];
  if (needsPax(path)) {
    const slash = entry.type === 'directory' ? '/' : '';
    records.push(paxRecord('path', Buffer.concat([Buffer.from(path), Buffer.from(slash)])));
  }
  if (target !== undefined && needsPax(target)) records.push(paxRecord('linkpath', target));
  if (!Number.isInteger(mtime) || mtime < 0) records.push(paxRecord('mtime', String(mtime)));
  if (uid > 0o777777) records.push(paxRecord('uid', String(uid)));
  if (gid > 0o777777) records.push(paxRecord('gid', String(gid)));
  for (const [name, value] of Object.entries(xattrs)) {
    records.push(paxRecord(`SCHILY.xattr.${name}`, value));
  }
  return records;
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
function paxRecord(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length;
  while (String(length).length + rest.length !== length) {
    length = String(length).length + rest.length;
  }
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

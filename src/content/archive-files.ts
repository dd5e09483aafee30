/**
 * The members of a tar archive as files that can be read in place. Only headers are looked at: from
 * each one the next is reached by skipping the data between, so an archive of many gigabytes opens at
 * once. A compressed archive has no places to go to; it is inflated into the content store first, and
 * remembered there for the next time.
 */

import { createReadStream } from 'node:fs';
import { posix, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { type Header, extract } from 'tar-stream';
import { SiphonError } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';
import { digestSchema } from '../remote/descriptor.js';
import type { ContentStore } from './content-store.js';
import { fileIdentity } from './file-digest.js';
import type { FileSet, FileSlice } from './file-set.js';
import { detectCompression } from './layer-format.js';

const BLOCK = 512;
/** Extended headers before one member; GNU tar and Go write a few hundred bytes. */
const MAX_HEADER_BYTES = 1024 * 1024;
/** Image archives have a few members for each layer. */
const MAX_MEMBERS = 100_000;
/** Links followed to reach a member. */
const MAX_LINKS = 8;

interface Member {
  slice: FileSlice;
  /** Name of another member, for links. */
  target?: string;
}

/**
 * @throws SiphonError `not-found`, `invalid` (no tar, too many members), `corrupt` (cut short),
 * `unsupported` (a compression nothing here reads)
 */
export async function openArchive(
  path: string,
  options: { store: ContentStore; signal: AbortSignal },
): Promise<FileSet> {
  const plain = await uncompressedPath(resolve(path), options);
  const members = await readMembers(plain, path, options.signal);
  return {
    name: path,
    locate: async (file) => follow(members, posix.normalize(file))?.slice,
  };
}

function follow(members: ReadonlyMap<string, Member>, name: string): Member | undefined {
  let member = members.get(name);
  for (let links = 0; member?.target !== undefined; links++) {
    member = links < MAX_LINKS ? members.get(member.target) : undefined;
  }
  return member;
}

async function uncompressedPath(
  path: string,
  { store, signal }: { store: ContentStore; signal: AbortSignal },
): Promise<string> {
  const compression = await detectCompression(path);
  if (compression === 'none') return path;
  if (compression !== 'gzip') {
    throw new SiphonError(
      'unsupported',
      `Cannot open archive "${path}": it is compressed with ${compression}, expected a plain or gzip tar`,
    );
  }
  const key = `inflated ${await fileIdentity(path)}`;
  const known = await store.memo.recall(key, digestSchema);
  if (known !== undefined && (await store.has(known))) return store.path(known);
  const { digest } = await store.add(inflated(path, signal), { signal });
  await store.memo.remember(key, digest);
  return store.path(digest);
}

async function* inflated(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip();
  const piped = pipeline(createReadStream(path), gunzip, { signal });
  // The reader of `gunzip` sees the same failure.
  piped.catch(() => {});
  try {
    for await (const chunk of gunzip) yield chunk as Buffer;
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new SiphonError('corrupt', `Cannot open archive "${path}": its gzip data is damaged`, {
      cause,
    });
  }
}

async function readMembers(
  path: string,
  name: string,
  signal: AbortSignal,
): Promise<Map<string, Member>> {
  const file = await FileBlob.open(path);
  try {
    const members = new Map<string, Member>();
    let offset = 0;
    while (offset < file.size) {
      const found = await readHeader(file, offset, name, signal);
      if (found === undefined) break;
      const { header, dataOffset } = found;
      const size = header.size ?? 0;
      if (dataOffset + size > file.size) throw cutShort(name, header.name);
      addMember(members, header, { path, offset: dataOffset, size });
      if (members.size > MAX_MEMBERS) throw tooMany(name);
      offset = dataOffset + Math.ceil(size / BLOCK) * BLOCK;
    }
    return members;
  } finally {
    await file.close();
  }
}

function addMember(members: Map<string, Member>, header: Header, slice: FileSlice): void {
  const name = posix.normalize(header.name);
  const link = header.linkname ?? '';
  switch (header.type) {
    case 'file':
    case 'contiguous-file':
      members.set(name, { slice });
      break;
    case 'link':
      members.set(name, { slice, target: posix.normalize(link) });
      break;
    case 'symlink':
      members.set(name, { slice, target: posix.join(posix.dirname(name), link) });
      break;
    default:
      break;
  }
}

/** The next member from `offset` on, its extended headers applied; `undefined` at the archive's end. */
async function readHeader(
  file: FileBlob,
  offset: number,
  name: string,
  signal: AbortSignal,
): Promise<{ header: Header; dataOffset: number } | undefined> {
  const parser = extract();
  let header: Header | undefined;
  let failure: unknown;
  parser.on('entry', (found) => (header = found));
  parser.on('error', (error: unknown) => (failure = error));
  try {
    for (let end = offset; end < file.size;) {
      if (end - offset > MAX_HEADER_BYTES) throw tooLong(name, offset);
      if (end + BLOCK > file.size) {
        throw end === 0 ? notATar(name, 0) : cutShort(name, `header at byte ${offset}`);
      }
      const block = await file.read(end, BLOCK, signal);
      if (end === offset && block.every((byte) => byte === 0)) return undefined;
      end += BLOCK;
      parser.write(block);
      // The parser works in later microtasks; a turn of the event loop is after all of them.
      await new Promise(setImmediate);
      if (failure !== undefined) throw notATar(name, offset, failure);
      if (header !== undefined) return { header, dataOffset: end };
    }
    throw cutShort(name, `header at byte ${offset}`);
  } finally {
    parser.destroy();
  }
}

function notATar(name: string, offset: number, cause?: unknown): SiphonError {
  return offset === 0
    ? new SiphonError('invalid', `Cannot open archive "${name}": it is not a tar, expected one`, {
        cause,
      })
    : new SiphonError('corrupt', `Cannot open archive "${name}": no tar header at byte ${offset}`, {
        cause,
      });
}

function cutShort(name: string, what: string): SiphonError {
  return new SiphonError('corrupt', `Cannot open archive "${name}": it is cut short in ${what}`);
}

function tooLong(name: string, offset: number): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot open archive "${name}": the header at byte ${offset} is longer than ${MAX_HEADER_BYTES} bytes`,
  );
}

function tooMany(name: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot open archive "${name}": more than ${MAX_MEMBERS} members`,
  );
}

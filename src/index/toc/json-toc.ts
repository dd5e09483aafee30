/**
 * The JSON table of contents that eStargz and zstd:chunked share (stargz-snapshotter, docs/estargz.md,
 * "TOC"; containers/storage, pkg/chunked): a list of entries in the order of the tar, where a file that
 * has several chunks is followed by one entry of type `chunk` for each further one. Pure.
 *
 * Its writers put U+FFFD in place of what is no UTF-8, so a name that has one cannot be believed: such a
 * layer has to be read from its tar.
 */

import { isDigest } from '../../common/digest.js';
import { SiphonError } from '../../common/errors.js';
import { MAX_PATH } from '../byte-path.js';
import { type TarEntry, type Xattr, boundTime, checkId } from '../tar-entry.js';
import { type ByteString, printable } from '../tar-header.js';
import { type JsonText, isJsonList, jsonElements, jsonMembers, jsonValue } from './json-members.js';
import { parseRfc3339 } from './rfc3339.js';
import { type TocChunk, type TocEntry, entryTypes } from './toc-model.js';

const VERSION = 1;
/** U+FFFD in UTF-8. */
const REPLACED = '\xef\xbf\xbd';
const MAX_UINT32 = 2 ** 32 - 1;

/** A JSON object of the list, nothing of it believed. */
type Fields = Readonly<Record<string, unknown>>;

/** Bytes of one entry of the list: the xattrs of a file can be large, nothing else. */
const MAX_ENTRY_SIZE = 4 << 20;

/**
 * The entries, read as they are asked for: a table can have more than fit into memory.
 * @param checkWanted is called at each object of the list, and throws to end the work
 * @throws SiphonError `invalid` where it is no such table; `unsupported` where chunks have no digest of
 * a kind known here, or names were lost
 */
export function* parseJsonToc(
  json: Buffer,
  checkWanted: () => void = () => undefined,
): Generator<TocEntry, undefined> {
  let file: TocFile | undefined;
  for (const fields of listedEntries(json)) {
    checkWanted();
    if (fields['type'] === 'chunk' && file !== undefined) {
      file.add(fields);
      continue;
    }
    if (file !== undefined) yield file.finish();
    file = fields['type'] === 'reg' ? new TocFile(fields) : undefined;
    if (file === undefined) yield { entry: tarEntryOf(fields), chunks: [] };
  }
  if (file !== undefined) yield file.finish();
  return undefined;
}

function* listedEntries(json: Buffer): Generator<Fields, undefined> {
  try {
    const members = jsonMembers(json);
    checkVersion(valueOf(json, members.get('version')));
    const list = members.get('entries');
    if (list === undefined || !isJsonList(json, list))
      throw wrong('"entries"', valueOf(json, list), 'a list');
    for (const place of jsonElements(json, list)) yield asFields(valueOf(json, place));
    return undefined;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new SiphonError(
      'invalid',
      'Cannot read table of contents: it is no JSON, expected an object with a list',
      { cause },
    );
  }
}

function valueOf(json: Buffer, place: JsonText | undefined): unknown {
  if (place === undefined) return undefined;
  if (place.end - place.start <= MAX_ENTRY_SIZE) return jsonValue(json, place);
  const size = place.end - place.start;
  throw wrong('the size of an entry', size, `at most ${MAX_ENTRY_SIZE} bytes`);
}

function checkVersion(version: unknown): void {
  if (version === VERSION) return;
  throw new SiphonError(
    'unsupported',
    `Cannot read table of contents: its version is ${shown(version)}, expected ${VERSION}`,
  );
}

function asFields(value: unknown): Fields {
  if (typeof value !== 'object' || value === null) throw wrong('an entry', value, 'an object');
  // An object of JSON has string keys; its values are checked one by one.
  return value as Fields;
}

function tarEntryOf(fields: Fields): TarEntry {
  const path = bytesOf(fields, 'name');
  const type = entryTypes.get(fields['type']);
  if (type === undefined) {
    throw wrong(`the type of ${named(path)}`, fields['type'], 'a kind of file');
  }
  const time = timeOf(fields, path);
  return {
    type,
    path,
    mode: integer(fields, 'mode') & 0o7777,
    uid: checkId('uid', integer(fields, 'uid'), path),
    gid: checkId('gid', integer(fields, 'gid'), path),
    size: type === 'file' ? integer(fields, 'size') : 0,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    linkPath: bytesOf(fields, 'linkName'),
    devMajor: integer(fields, 'devMajor', MAX_UINT32),
    devMinor: integer(fields, 'devMinor', MAX_UINT32),
    xattrs: xattrsOf(fields, path),
  };
}

/** A file: its own entry, which speaks of its first chunk, and the chunks behind it, of which it holds one. */
class TocFile {
  readonly #entry: TarEntry;
  readonly #chunks: TocChunk[] = [];
  /** The last part so far: what it leaves out depends on whether another follows. */
  #part: Fields;
  #isFirst = true;
  #end = 0;

  constructor(fields: Fields) {
    this.#entry = tarEntryOf(fields);
    this.#part = fields;
  }

  add(part: Fields): void {
    const size = integer(this.#part, 'chunkSize');
    if (size === 0) throw gap(this.#entry, this.#end);
    this.#take(size, false);
    this.#isFirst = false;
    this.#part = part;
  }

  finish(): TocEntry {
    // A chunk that reaches to the file's end need not say so.
    const size = integer(this.#part, 'chunkSize') || this.#entry.size - this.#end;
    this.#take(size, this.#isFirst);
    if (this.#end !== this.#entry.size) throw gap(this.#entry, this.#end);
    return { entry: this.#entry, chunks: this.#chunks };
  }

  #take(size: number, isWhole: boolean): void {
    const [entry, part, at] = [this.#entry, this.#part, this.#end];
    if (integer(part, 'chunkOffset') !== at || bytesOf(part, 'name') !== entry.path)
      throw gap(entry, at);
    if (size > entry.size - at) throw gap(entry, at);
    if (size > 0 && !isHole(part)) {
      const digest = digestOf(part, isWhole, entry);
      this.#chunks.push({ ...placeOf(part), fileOffset: at, size, digest });
    }
    this.#end += size;
  }
}

function placeOf(part: Fields): { blobOffset: number; skip: number } {
  return { blobOffset: integer(part, 'offset'), skip: integer(part, 'innerOffset') };
}

/** Zeros that are nowhere stored, as containers/storage leaves them out. */
function isHole(part: Fields): boolean {
  const kind = part['chunkType'];
  if (kind === undefined || kind === '') return false;
  if (kind === 'zeros') return true;
  throw new SiphonError(
    'unsupported',
    `Cannot read table of contents: a chunk is of type ${shown(kind)}, expected data or "zeros"`,
  );
}

function digestOf(part: Fields, isWhole: boolean, entry: TarEntry): Buffer {
  const digest = part['chunkDigest'] || (isWhole ? part['digest'] : undefined);
  if (typeof digest === 'string' && isDigest(digest)) {
    return Buffer.from(digest.slice('sha256:'.length), 'hex');
  }
  throw new SiphonError(
    'unsupported',
    `Cannot read table of contents: a chunk of ${named(entry.path)} has the digest ${shown(digest)}, expected a sha256 digest to check it by`,
  );
}

function xattrsOf(fields: Fields, path: ByteString): Xattr[] {
  const { xattrs } = fields;
  if (xattrs === undefined || xattrs === null) return [];
  return Object.entries(asFields(xattrs)).map(([name, value]) => {
    if (typeof value !== 'string') throw wrong(`an xattr of ${named(path)}`, value, 'base64');
    return { name: utf8Bytes(name), value: Buffer.from(value, 'base64').toString('latin1') };
  });
}

function timeOf(fields: Fields, path: ByteString): { seconds: number; nanoseconds: number } {
  const { modtime } = fields;
  if (modtime === undefined || modtime === null || modtime === '')
    return { seconds: 0, nanoseconds: 0 };
  const time = typeof modtime === 'string' ? parseRfc3339(modtime) : undefined;
  if (time === undefined) throw wrong(`the time of ${named(path)}`, modtime, 'RFC 3339');
  return boundTime(time);
}

/** A number that may be left out where it is 0. */
function integer(fields: Fields, name: string, most: number = Number.MAX_SAFE_INTEGER): number {
  const value = fields[name] ?? 0;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= most)
    return value;
  throw wrong(`"${name}"`, value, `an integer from 0 to ${most}`);
}

/** A name or target as bytes; none is empty text. */
function bytesOf(fields: Fields, name: string): ByteString {
  const value = fields[name] ?? '';
  if (typeof value !== 'string') throw wrong(`"${name}"`, value, 'text');
  const bytes = utf8Bytes(value);
  if (bytes.includes('\0')) throw wrong(`"${name}"`, value, 'text without NUL');
  return bytes;
}

function utf8Bytes(text: string): ByteString {
  const bytes = Buffer.from(text, 'utf8').toString('latin1');
  if (!bytes.includes(REPLACED)) return bytes;
  throw new SiphonError(
    'unsupported',
    `Cannot believe table of contents: of the name ${shown(text)} bytes were lost that are no UTF-8`,
  );
}

function gap(entry: TarEntry, at: number): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot read table of contents: the chunks of ${named(entry.path)} do not meet at byte ${at}, expected ${entry.size} bytes without a gap`,
  );
}

function wrong(what: string, value: unknown, expected: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot read table of contents: ${what} is ${shown(value)}, expected ${expected}`,
  );
}

const MAX_SHOWN = 64;

/** A value for messages, which are not for the whole of it. */
function shown(value: unknown): string {
  // May be nested deeper than the stack is.
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'a list' : 'an object';
  return (JSON.stringify(value) ?? 'missing').slice(0, MAX_SHOWN);
}

/** A path for messages. */
function named(path: ByteString): string {
  return `"${printable(path.slice(0, MAX_PATH))}"`;
}

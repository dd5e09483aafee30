/**
 * Opening an index file, which may come from anywhere: nothing of it is believed before it is checked.
 * The header is read by hand first, so that SQLite never opens a file in a mode that writes (a journal,
 * a WAL) or of another kind; then the schema must be exactly ours, so that no view or trigger can run.
 */

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type BetterSqlite3 from 'better-sqlite3';
import { Sqlite } from '../common/sqlite.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import { damagedIndex, nameOfIndex } from './index-damage.js';
import { APPLICATION_ID, FORMAT_VERSION, TABLES } from './schema.js';

/**
 * SQLite's page cache for one reader, in KiB; each FUSE worker has one for each layer it served. Small,
 * because the kernel's page cache is behind it: measured in native-notes.md.
 */
const CACHE_KIB = 256;

/** Offsets in the database header (sqlite.org/fileformat.html, section 1.3). */
const HEADER = {
  size: 100,
  pageSize: 16,
  writeVersion: 18,
  readVersion: 19,
  pages: 28,
  userVersion: 60,
  applicationId: 68,
};
const MAGIC = 'SQLite format 3\0';
/** A rollback journal, as opposed to a WAL. */
const ROLLBACK = 1;

/**
 * Opens an index for reading.
 * @throws SiphonError `not-found`, `corrupt`, or `unsupported` for another version of the format
 */
export function openIndexFile(path: string): BetterSqlite3.Database {
  checkHeader(path);
  let database: BetterSqlite3.Database | undefined;
  try {
    database = new Sqlite(path, { readonly: true, fileMustExist: true });
    // The lock is taken once instead of at every statement; nobody writes.
    database.pragma('locking_mode = EXCLUSIVE');
    database.pragma('trusted_schema = OFF');
    database.pragma('cell_size_check = ON');
    database.pragma('query_only = ON');
    database.pragma(`cache_size = -${CACHE_KIB}`);
    checkSchema(path, database);
    return database;
  } catch (error) {
    database?.close();
    throw damagedIndex(nameOfIndex(path), error);
  }
}

function checkHeader(path: string): void {
  const { header, size } = readHeader(path);
  const pageSize = header.readUInt16BE(HEADER.pageSize);
  // 65,536 does not fit in 16 bits and is written as 1.
  const fileSize = (pageSize === 1 ? 65536 : pageSize) * header.readUInt32BE(HEADER.pages);
  const isOurs =
    header.toString('latin1', 0, MAGIC.length) === MAGIC &&
    header.readUInt32BE(HEADER.applicationId) === APPLICATION_ID &&
    header[HEADER.writeVersion] === ROLLBACK &&
    header[HEADER.readVersion] === ROLLBACK;
  if (!isOurs)
    throw new SiphonError(
      'corrupt',
      `Cannot read index "${path}": it is another kind of file, expected a layer index`,
    );
  const version = header.readUInt32BE(HEADER.userVersion);
  if (version !== FORMAT_VERSION) {
    throw new SiphonError(
      'unsupported',
      `Cannot read index "${path}": its format is ${version}, expected ${FORMAT_VERSION}`,
      {
        hint: 'Build the index again with this version of siphon.',
      },
    );
  }
  if (fileSize !== size) {
    throw new SiphonError(
      'corrupt',
      `Cannot read index "${path}": it has ${size} bytes, expected ${fileSize}`,
    );
  }
}

function readHeader(path: string): { header: Buffer; size: number } {
  const header = Buffer.alloc(HEADER.size);
  let file: number;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new SiphonError('not-found', `Cannot open index "${path}": ${errorMessage(error)}`, {
      cause: error,
    });
  }
  try {
    const status = fstatSync(file);
    if (!status.isFile())
      throw new SiphonError(
        'corrupt',
        `Cannot read index "${path}": it is no regular file, expected a layer index`,
      );
    readSync(file, header, 0, HEADER.size, 0);
    return { header, size: status.size };
  } finally {
    closeSync(file);
  }
}

function checkSchema(path: string, database: BetterSqlite3.Database): void {
  const found = database
    .prepare(`SELECT sql FROM sqlite_schema ORDER BY rowid LIMIT ${TABLES.length + 1}`)
    .pluck()
    .all();
  const matches = found.length === TABLES.length && TABLES.every((table, i) => table === found[i]);
  if (matches) return;
  throw new SiphonError(
    'corrupt',
    `Cannot read index "${path}": its tables are others, expected those of format ${FORMAT_VERSION}`,
  );
}

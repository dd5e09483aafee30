/**
 * The index file: one SQLite database, written once, opened read-only ever after.
 *
 * - `layer`: one row about the whole.
 * - `inode`: every file once; hard links share it. `parent` is set for directories (".."), `data_offset`
 *   (tar offset of the content) for files, `target` for symlinks.
 * - `entry`: names. Clustered by (parent, name), so a directory is one range of the table.
 * - `listing`: each directory's entries once more, with all attributes, {@link PAGE_ENTRIES} to a row and
 *   packed (listing-page.ts); the number is {@link listingNumber}. So a listing goes on from any position,
 *   and needs one row for many entries.
 * - `extent`: the stored pieces of sparse files; what no extent covers is a hole.
 * - `implicit`: directories that exist only because something lies in them, and, `described` by an entry, those
 *   that they lie in; with their names, so that paths follow without each being stored.
 * - `span`, `window`: checkpoints, in blob order. `window` holds, as raw deflate, the bytes before the
 *   entry point, zeros where nothing is copied of them (sparse-window.ts); one without starts a gzip member (its header or its deflate data), starts a zstd frame,
 *   or is not compressed. Of spans that share an entry point the first has the window.
 *
 * Cost: about 110 bytes an entry, and 2.5 KB a checkpoint.
 */

/** "Siph", in the database header; tells the file from any other SQLite database. */
export const APPLICATION_ID = 0x53697068;
export const FORMAT_VERSION = 5;
/** Entries of a page of a directory's listing; the last page has fewer. */
export const PAGE_ENTRIES = 128;
/** A directory has fewer pages. */
const MAX_PAGES = 2 ** 20;

/** The number in `listing` of page `page`, from 0, of the directory `ino`. */
export function listingNumber(ino: number, page: number): number {
  return page < MAX_PAGES ? ino * MAX_PAGES + page : -1;
}

/** Every object of the schema; a file with anything more or less is refused. */
export const TABLES = [
  `CREATE TABLE layer(
  compression TEXT NOT NULL,
  format TEXT NOT NULL,
  format_reason TEXT NOT NULL,
  digest_of TEXT NOT NULL,
  blob_digest TEXT NOT NULL,
  blob_size INTEGER NOT NULL,
  diff_id TEXT NOT NULL,
  tar_size INTEGER NOT NULL,
  span_size INTEGER NOT NULL,
  span_count INTEGER NOT NULL,
  entry_count INTEGER NOT NULL,
  inode_count INTEGER NOT NULL,
  has_xattrs INTEGER NOT NULL,
  has_root_entry INTEGER NOT NULL,
  prefetch_end INTEGER NOT NULL
) STRICT`,
  `CREATE TABLE inode(
  ino INTEGER PRIMARY KEY,
  mode INTEGER NOT NULL,
  nlink INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  size INTEGER NOT NULL,
  mtime INTEGER NOT NULL,
  mtime_nsec INTEGER NOT NULL,
  rdev_major INTEGER NOT NULL,
  rdev_minor INTEGER NOT NULL,
  parent INTEGER,
  data_offset INTEGER,
  target BLOB
) STRICT`,
  `CREATE TABLE entry(
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  ino INTEGER NOT NULL,
  PRIMARY KEY(parent, name)
) STRICT, WITHOUT ROWID`,
  `CREATE TABLE listing(number INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT`,
  `CREATE TABLE xattr(
  ino INTEGER NOT NULL,
  name BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY(ino, name)
) STRICT, WITHOUT ROWID`,
  `CREATE TABLE extent(
  ino INTEGER NOT NULL,
  file_offset INTEGER NOT NULL,
  tar_offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  PRIMARY KEY(ino, file_offset)
) STRICT, WITHOUT ROWID`,
  `CREATE TABLE implicit(ino INTEGER PRIMARY KEY, name BLOB NOT NULL, described INTEGER NOT NULL) STRICT`,
  `CREATE TABLE span(
  number INTEGER PRIMARY KEY,
  tar_offset INTEGER NOT NULL,
  blob_offset INTEGER NOT NULL,
  blob_length INTEGER NOT NULL,
  bits INTEGER NOT NULL,
  skip INTEGER NOT NULL,
  digest BLOB NOT NULL
) STRICT`,
  `CREATE TABLE window(span INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT`,
] as const;

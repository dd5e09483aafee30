/** Writes an index file: the SQL of the building side, apart from the growing tree. */

import { closeSync, fsyncSync, openSync } from 'node:fs';
import type BetterSqlite3 from 'better-sqlite3';
import { Sqlite } from '../common/sqlite.js';
import type { LayerInfo } from './layer-model.js';
import { writeListings } from './listing-writer.js';
import { APPLICATION_ID, FORMAT_VERSION, TABLES } from './schema.js';
import type { RecordedSpan } from './span-recorder.js';
import { StagingTree } from './staging.js';

/** SQLite's page cache for each of the two files, in KiB. */
const CACHE_KIB = 24 * 1024;

/** What is known of a layer beside its tree. */
export type LayerFacts = Omit<
  LayerInfo,
  'formatVersion' | 'entryCount' | 'inodeCount' | 'hasXattrs'
>;

export class IndexWriter {
  readonly #path: string;
  readonly #database: BetterSqlite3.Database;
  readonly tree: StagingTree;
  readonly #addSpan: BetterSqlite3.Statement;
  readonly #addWindow: BetterSqlite3.Statement;

  /**
   * Creates `path` and `stagingPath`. Neither survives a crash, so no journal is written; what SQLite keeps
   * of one in memory is small, since both files begin empty.
   */
  constructor(path: string, stagingPath: string) {
    this.#path = path;
    this.#database = new Sqlite(path);
    const database = this.#database;
    database.pragma('journal_mode = MEMORY');
    database.pragma('synchronous = OFF');
    database.pragma(`cache_size = -${CACHE_KIB}`);
    database.pragma(`application_id = ${APPLICATION_ID}`);
    database.pragma(`user_version = ${FORMAT_VERSION}`);
    database.prepare('ATTACH ? AS staging').run(stagingPath);
    database.pragma('staging.journal_mode = MEMORY');
    database.pragma('staging.synchronous = OFF');
    database.pragma(`staging.cache_size = -${CACHE_KIB}`);
    database.exec('BEGIN');
    for (const table of TABLES) database.exec(table);
    this.tree = new StagingTree(database);
    this.#addSpan = database.prepare('INSERT INTO span VALUES (?, ?, ?, ?, ?, ?, ?)');
    this.#addWindow = database.prepare('INSERT INTO window VALUES (?, ?)');
  }

  addSpan(span: RecordedSpan, window: Buffer | undefined): void {
    const { number, tarOffset, blobOffset, blobLength, bits, skip, digest } = span;
    this.#addSpan.run(number, tarOffset, blobOffset, blobLength, bits, skip, digest);
    if (window !== undefined) this.addWindow(number, window);
  }

  /** `window` is raw deflate. */
  addWindow(span: number, window: Buffer): void {
    this.#addWindow.run(span, window);
  }

  /** Copies the tree in its final order, adds the facts, and syncs the file. */
  finish(facts: LayerFacts): LayerInfo {
    copyTree(this.#database, this.tree.isDense);
    const info: LayerInfo = {
      ...facts,
      formatVersion: FORMAT_VERSION,
      entryCount: this.tree.countEntries(),
      inodeCount: this.tree.nodeCount,
      hasXattrs:
        this.#database.prepare('SELECT EXISTS(SELECT 1 FROM main.xattr)').pluck().get() === 1,
    };
    writeInfo(this.#database, info);
    this.#database.exec('COMMIT');
    this.close();
    syncFile(this.#path);
    return info;
  }

  close(): void {
    this.#database.close();
  }
}

function copyTree(database: BetterSqlite3.Database, isDense: boolean): void {
  if (!isDense) database.exec(RENUMBER);
  database.exec(`CREATE TABLE staging.subdirectories AS
    SELECT parent, count(*) AS n FROM staging.node WHERE parent IS NOT NULL GROUP BY parent;
    CREATE UNIQUE INDEX staging.subdirectories_parent ON subdirectories(parent);`);
  const renumbered = (column: string) =>
    isDense ? column : `(SELECT new FROM staging.renumber WHERE old = ${column})`;
  database.exec(`
    INSERT INTO main.inode SELECT ${renumbered('n.ino')}, mode,
      CASE mode & 61440 WHEN 16384
        THEN 2 + coalesce((SELECT s.n FROM staging.subdirectories s WHERE s.parent = n.ino), 0)
        ELSE nlink END,
      uid, gid, size, mtime, mtime_nsec, rdev_major, rdev_minor,
      CASE n.ino WHEN 1 THEN 1 ELSE ${renumbered('n.parent')} END, data_offset, target
      FROM staging.node n ORDER BY n.ino;
    INSERT INTO main.entry SELECT ${renumbered('c.parent')}, name, ${renumbered('c.ino')}
      FROM staging.child c ORDER BY c.parent, c.name;
    INSERT INTO main.xattr SELECT ${renumbered('x.ino')}, name, value FROM staging.xattr x ORDER BY x.ino, x.name;
    INSERT INTO main.extent SELECT ${renumbered('x.ino')}, file_offset, tar_offset, length
      FROM staging.extent x ORDER BY x.ino, x.file_offset;
    INSERT INTO main.implicit
      WITH RECURSIVE above(ino) AS (
        SELECT ino FROM staging.node WHERE implicit
        UNION SELECT n.parent FROM above a CROSS JOIN staging.node n ON n.ino = a.ino WHERE n.parent IS NOT NULL
      )
      SELECT ${renumbered('n.ino')}, n.name, 1 - n.implicit
      FROM above a CROSS JOIN staging.node n ON n.ino = a.ino ORDER BY n.ino;
  `);
  writeListings(database);
}

const RENUMBER = `CREATE TABLE staging.renumber(old INTEGER PRIMARY KEY, new INTEGER);
  INSERT INTO staging.renumber SELECT ino, row_number() OVER (ORDER BY ino) FROM staging.node;`;

function writeInfo(database: BetterSqlite3.Database, info: LayerInfo): void {
  database
    .prepare('INSERT INTO layer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    .run(
      info.compression,
      info.format,
      info.formatReason,
      info.digestOf,
      info.blobDigest,
      info.blobSize,
      info.diffId,
      info.tarSize,
      info.spanSize,
      info.spanCount,
      info.entryCount,
      info.inodeCount,
      info.hasXattrs ? 1 : 0,
      info.hasRootEntry ? 1 : 0,
      info.prefetchEnd,
    );
}

function syncFile(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

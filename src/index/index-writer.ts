/** Writes an index file: the SQL of the building side, apart from the growing tree. */

import { closeSync, fsyncSync, openSync } from 'node:fs';
import type BetterSqlite3 from 'better-sqlite3';
import { Sqlite } from '../common/sqlite.js';
import type { LayerInfo } from './layer-model.js';
import { MemoryTree } from './memory-tree.js';
import { APPLICATION_ID, FORMAT_VERSION, TABLES } from './schema.js';
import { PAGE_SIZE } from './sqlite/page-file.js';
import type { RecordedSpan } from './span-recorder.js';
import { SpillingTree, TREE_MEMORY } from './spilling-tree.js';
import { fillTables, rootPages, storeRareRows } from './store-memory-tree.js';
import { storeStagingTree } from './store-staging-tree.js';

/** SQLite's page cache for each of the two files, in KiB. */
const CACHE_KIB = 20 * 1024;

/** What is known of a layer beside its tree. */
export type LayerFacts = Omit<
  LayerInfo,
  'formatVersion' | 'entryCount' | 'inodeCount' | 'hasXattrs'
>;

export class IndexWriter {
  readonly #path: string;
  readonly #database: BetterSqlite3.Database;
  readonly tree: SpillingTree;
  readonly #addSpan: BetterSqlite3.Statement;
  readonly #addWindow: BetterSqlite3.Statement;

  /**
   * Creates `path` and `stagingPath`. Neither survives a crash, so no journal is written; what SQLite keeps
   * of one in memory is small, since both files begin empty.
   * @param treeMemory bytes of memory for the growing tree, about
   */
  constructor(path: string, stagingPath: string, treeMemory = TREE_MEMORY) {
    this.#path = path;
    this.#database = new Sqlite(path);
    const database = this.#database;
    database.pragma(`page_size = ${PAGE_SIZE}`);
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
    this.tree = new SpillingTree(database, treeMemory);
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

  /** Stores the tree in its final order, adds the facts, and syncs the file. */
  finish(facts: LayerFacts): LayerInfo {
    const tree = this.tree.stored;
    if (tree instanceof MemoryTree) storeRareRows(tree.finish(), this.#database);
    else storeStagingTree(this.#database, tree.isDense);
    const info: LayerInfo = {
      ...facts,
      formatVersion: FORMAT_VERSION,
      entryCount: tree.entryCount,
      inodeCount: tree.nodeCount,
      hasXattrs:
        this.#database.prepare('SELECT EXISTS(SELECT 1 FROM main.xattr)').pluck().get() === 1,
    };
    writeInfo(this.#database, info);
    const roots = rootPages(this.#database);
    this.#database.exec('COMMIT');
    this.close();
    if (tree instanceof MemoryTree) fillTables(tree, this.#path, roots);
    syncFile(this.#path);
    return info;
  }

  close(): void {
    this.#database.close();
  }
}

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

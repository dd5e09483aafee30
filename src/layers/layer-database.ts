/**
 * The database of layers: its tables and its opening. Each layer's folder describes the layer once more,
 * in `layer.json`; where the database is damaged or gone, it is kept aside and rebuilt from those. Who held
 * which layer is lost then, which costs nothing: what a person asked for is kept anyway, and a service knows
 * by its snapshots what is its.
 */

import type Database from 'better-sqlite3';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { temporaryName } from '../common/atomic-file.js';
import { type Digest, parseDigest } from '../common/digest.js';
import { errorMessage, systemCode } from '../common/errors.js';
import { keptAsideFolder } from '../common/kept-aside.js';
import type { Logger } from '../common/log.js';
import { field, fieldsOf } from '../common/own-json.js';
import { type Migrations, migrate } from '../common/migrate.js';
import { Sqlite } from '../common/sqlite.js';
import { lockFile } from '../ffi/libc.js';

/** A layer as its row and its description say; `origin` is JSON. */
export interface LayerRow {
  number: number;
  blob_digest: Digest;
  identity: 'content' | 'location';
  blob_size: number;
  media_type: string;
  origin: string;
  kept: 0 | 1;
}

const schema: Migrations = {
  name: 'the record of layers',
  steps: [
    `CREATE TABLE layer (
     number INTEGER PRIMARY KEY AUTOINCREMENT,
     blob_digest TEXT NOT NULL UNIQUE,
     identity TEXT NOT NULL CHECK (identity IN ('content', 'location')),
     blob_size INTEGER NOT NULL,
     media_type TEXT NOT NULL,
     diff_id TEXT,
     origin TEXT NOT NULL
   ) STRICT;
   CREATE TABLE holder (
     layer INTEGER NOT NULL REFERENCES layer(number) ON DELETE CASCADE,
     pid INTEGER NOT NULL,
     PRIMARY KEY (layer, pid)
   ) STRICT, WITHOUT ROWID;`,
    `ALTER TABLE layer ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;`,
    // What one image says of a layer is nothing to go by for the next.
    `ALTER TABLE layer DROP COLUMN diff_id;`,
  ],
};

const DATABASE = 'layers.db';
const FILE = 'layer.json';
/** Numbers left out after a rebuild, for layers of which nothing is left: a kernel may remember them. */
const NUMBERS_LEFT_OUT = 1_000;

/**
 * Opens `<directory>/layers.db`, rebuilt where that is needed.
 * @throws SiphonError `unsupported` where a newer program wrote it; the system error
 */
export function openLayerDatabase(directory: string, log: Logger): Database.Database {
  const path = join(directory, DATABASE);
  const [opened] = tryOpen(path);
  if (opened !== undefined && !isForgetful(opened, directory)) return opened;
  opened?.close();
  // Of several processes that find it so, one does it.
  const lock = openSync(`${path}.lock`, 'a', 0o600);
  try {
    lockFile(lock);
    return rebuilt(directory, path, log);
  } finally {
    closeSync(lock);
  }
}

/**
 * The files of `directory` that hold what is known of a layer. The database's own sync is not waited for: a row that a
 * power cut takes is of a layer that is not ready yet, but for those that somebody syncs by these.
 */
export function filesOfRow(directory: string, number: number): string[] {
  return [join(directory, `${DATABASE}-wal`), join(directory, String(number), FILE)];
}

/** Notes in the layer's folder, which must be there, what its row says. @throws the system error */
export function describeLayer(folder: string, row: LayerRow): void {
  const path = join(folder, FILE);
  // Several processes may do it at once.
  const temporary = temporaryName(path);
  writeFileSync(temporary, `${JSON.stringify(row)}\n`, { mode: 0o600 });
  renameSync(temporary, path);
}

function rebuilt(directory: string, path: string, log: Logger): Database.Database {
  const [again, damage = 'it is gone'] = tryOpen(path);
  if (again !== undefined && !isForgetful(again, directory)) return again;
  again?.close();
  const aside = keptAsideFolder(dirname(directory));
  for (const file of [path, `${path}-wal`, `${path}-shm`])
    if (existsSync(file)) renameSync(file, join(aside, basename(file)));
  const database = open(path);
  const { rows, unreadable } = readDescriptions(directory);
  insert(database, rows);
  log.error(
    { damage, aside, layers: rows.length },
    `the record of layers was damaged; it is kept in "${aside}", and was rebuilt from the layers' folders`,
  );
  for (const folder of unreadable)
    log.error({ folder }, 'layer is lost: its folder does not say what it is');
  return database;
}

/** The database, or what is wrong with it. */
function tryOpen(path: string): [Database.Database] | [undefined, string] {
  try {
    return [open(path)];
  } catch (error) {
    if (!/^SQLITE_(NOTADB|CORRUPT|ERROR)/.test(systemCode(error) ?? '')) throw error;
    return [undefined, errorMessage(error)];
  }
}

function open(path: string): Database.Database {
  const database = new Sqlite(path);
  try {
    database.pragma('busy_timeout = 10000');
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = NORMAL');
    database.pragma('foreign_keys = ON');
    const finding: unknown = database.pragma('quick_check(1)', { simple: true });
    if (finding !== 'ok') throw new Sqlite.SqliteError(String(finding), 'SQLITE_CORRUPT');
    migrate(database, schema);
    // Tables that are not what they should be are damage too.
    database.prepare('SELECT blob_digest, kept, layer, pid FROM layer, holder').get();
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Whether it knows of no layer ever, while there are folders of some. */
function isForgetful(database: Database.Database, directory: string): boolean {
  const row = database.prepare(`SELECT 1 FROM sqlite_sequence WHERE name = 'layer'`).get();
  return row === undefined && readDescriptions(directory).rows.length > 0;
}

function readDescriptions(directory: string): { rows: LayerRow[]; unreadable: string[] } {
  const rows: LayerRow[] = [];
  const unreadable: string[] = [];
  for (const folder of readdirSync(directory).filter((name) => /^[1-9]\d*$/.test(name))) {
    const row = readDescription(join(directory, folder, FILE));
    if (row?.number === Number(folder)) rows.push(row);
    else unreadable.push(folder);
  }
  return { rows, unreadable };
}

function readDescription(path: string): LayerRow | undefined {
  try {
    return parseRow(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

function parseRow(value: unknown): LayerRow {
  const row = fieldsOf(value, "a layer's description");
  return {
    number: field(row, 'number', 'number'),
    blob_digest: parseDigest(field(row, 'blob_digest', 'string')),
    identity: field(row, 'identity', 'string') === 'location' ? 'location' : 'content',
    blob_size: field(row, 'blob_size', 'number'),
    media_type: field(row, 'media_type', 'string'),
    origin: field(row, 'origin', 'string'),
    kept: field(row, 'kept', 'number') === 0 ? 0 : 1,
  };
}

function insert(database: Database.Database, rows: readonly LayerRow[]): void {
  const statement = database.prepare(
    `INSERT OR REPLACE INTO layer (number, blob_digest, identity, blob_size, media_type, origin, kept)
     VALUES (@number, @blob_digest, @identity, @blob_size, @media_type, @origin, @kept)`,
  );
  database.transaction(() => {
    for (const row of rows) statement.run(row);
    database.prepare('UPDATE sqlite_sequence SET seq = seq + ?').run(NUMBERS_LEFT_OUT);
  })();
}

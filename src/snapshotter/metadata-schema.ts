/**
 * The tables of the snapshotter's metadata, as numbered steps. `PRAGMA user_version` holds the number
 * of steps taken; a step that was released is never changed, only followed by another.
 */

import type { Database } from 'better-sqlite3';
import { SiphonError } from '../common/errors.js';

const migrations: readonly string[] = [
  `
  CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- also the name of the folder
    name TEXT NOT NULL UNIQUE,             -- the key until committed
    parent_id INTEGER REFERENCES snapshots (id) ON DELETE RESTRICT,
    kind TEXT NOT NULL CHECK (kind IN ('view', 'active', 'committed')),
    created_at INTEGER NOT NULL,           -- nanoseconds since the epoch
    updated_at INTEGER NOT NULL,
    labels TEXT NOT NULL,                  -- a JSON object of strings
    lazy_number INTEGER,                   -- the lazy layer that is the content
    size INTEGER,                          -- disk usage, once known to be final
    inodes INTEGER
  ) STRICT;
  CREATE INDEX snapshots_by_parent ON snapshots (parent_id);
  CREATE INDEX snapshots_by_lazy_number ON snapshots (lazy_number) WHERE lazy_number IS NOT NULL;

  -- Lazy layers whose last snapshot went, until their server has let go of them.
  CREATE TABLE releases (lazy_number INTEGER PRIMARY KEY) STRICT;
  `,
];

/**
 * Brings the tables to this program's version.
 * @throws SiphonError `unsupported` where a newer program wrote them
 */
export function migrate(database: Database): void {
  const done = Number(database.pragma('user_version', { simple: true }));
  if (done > migrations.length) {
    throw new SiphonError(
      'unsupported',
      `Cannot open snapshot metadata "${database.name}": it has version ${done}, expected at most ${migrations.length}`,
      { hint: 'A newer siphon wrote it; start that one.' },
    );
  }
  const step = database.transaction((sql: string, version: number) => {
    database.exec(sql);
    database.pragma(`user_version = ${version}`);
  });
  for (const [index, sql] of migrations.entries())
    if (index >= done) step.immediate(sql, index + 1);
}

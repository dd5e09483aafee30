/** The tables of the snapshotter's metadata. */

import type { Migrations } from '../common/migrate.js';

export const metadataSchema: Migrations = {
  name: 'snapshot metadata',
  steps: [
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
  ],
};

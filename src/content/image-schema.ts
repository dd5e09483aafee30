/** The tables of `images.db`. */

import type { Migrations } from '../common/migrate.js';

export const imageSchema: Migrations = {
  name: 'the record of images',
  steps: [
    `CREATE TABLE image (
     name TEXT PRIMARY KEY,
     media_type TEXT NOT NULL,
     digest TEXT NOT NULL,
     size INTEGER NOT NULL,
     origin TEXT,
     plain_http INTEGER,
     given INTEGER NOT NULL,
     created INTEGER NOT NULL,
     updated INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE lease (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     pid INTEGER NOT NULL,
     start_time TEXT NOT NULL,
     created INTEGER NOT NULL,
     settled INTEGER NOT NULL DEFAULT 0
   ) STRICT;
   CREATE TABLE lease_resource (
     lease INTEGER NOT NULL REFERENCES lease(id) ON DELETE CASCADE,
     digest TEXT NOT NULL,
     media_type TEXT NOT NULL,
     size INTEGER NOT NULL,
     PRIMARY KEY (lease, digest)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE blob_label (
     digest TEXT NOT NULL,
     key TEXT NOT NULL,
     value TEXT NOT NULL,
     PRIMARY KEY (digest, key)
   ) STRICT, WITHOUT ROWID;`,
  ],
};

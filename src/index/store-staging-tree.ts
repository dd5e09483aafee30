/** Copies a tree out of its staging tables into the index, in the index's order. */

import type BetterSqlite3 from 'better-sqlite3';
import { writeListings } from './listing-writer.js';

/** @param isDense whether there are no gaps between the numbers of its inodes */
export function storeStagingTree(database: BetterSqlite3.Database, isDense: boolean): void {
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

/** The queries of the reading side, prepared once; rows come as arrays. */

import type BetterSqlite3 from 'better-sqlite3';
import { INODE, type InodeRow } from './inode-row.js';

/** A statement whose rows have as many values as `Row`; of what kind they are, whoever reads one looks. */
export type RowStatement<Row> = BetterSqlite3.Statement<unknown[], Row>;

export type IndexStatements = ReturnType<typeof prepareStatements>;

export function prepareStatements(database: BetterSqlite3.Database) {
  const sql = <Row>(text: string): RowStatement<Row> =>
    database.prepare<unknown[], Row>(text).raw();
  return {
    // CROSS JOIN keeps the order of the loops.
    lookup: sql<InodeRow>(
      `SELECT ${INODE} FROM entry e CROSS JOIN inode i ON i.ino = e.ino WHERE e.parent = ? AND e.name = ?`,
    ),
    inode: sql<InodeRow>(`SELECT ${INODE} FROM inode i WHERE ino = ?`),
    parent: sql<[parent: unknown]>('SELECT parent FROM inode WHERE ino = ?'),
    listing: sql<[page: unknown]>('SELECT entries FROM listing WHERE number = ?'),
    target: sql<[target: unknown]>('SELECT target FROM inode WHERE ino = ?'),
    content: sql<[mode: unknown, size: unknown, dataOffset: unknown]>(
      'SELECT mode, size, data_offset FROM inode WHERE ino = ?',
    ),
    // From the last extent that begins before the wanted bytes, so that a file of many extents is not
    // gone through from its start.
    extents: sql<[fileOffset: unknown, tarOffset: unknown, length: unknown]>(
      `SELECT file_offset, tar_offset, length FROM extent WHERE ino = ? AND file_offset < ? AND file_offset >=
        coalesce((SELECT max(file_offset) FROM extent WHERE ino = ? AND file_offset <= ?), 0) ORDER BY file_offset`,
    ),
    xattrNames: sql<[name: unknown]>('SELECT name FROM xattr WHERE ino = ? ORDER BY name'),
    xattr: sql<[value: unknown]>('SELECT value FROM xattr WHERE ino = ? AND name = ?'),
    window: sql<[data: unknown]>('SELECT data FROM window WHERE span = ?'),
    implicit: sql<[ino: unknown]>(
      'SELECT ino FROM implicit WHERE ino > ? AND NOT described ORDER BY ino LIMIT 1024',
    ),
    isImplicit: sql<[number]>('SELECT 1 FROM implicit WHERE ino = ? AND NOT described'),
    implicitName: sql<[parent: unknown, name: unknown]>(
      'SELECT i.parent, m.name FROM implicit m CROSS JOIN inode i ON i.ino = m.ino WHERE m.ino = ?',
    ),
  };
}

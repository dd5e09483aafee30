/** The one row about the whole layer, checked. */

import type BetterSqlite3 from 'better-sqlite3';
import { type Digest, type DiffId, isDigest } from '../common/digest.js';
import { IndexDamage, integerOf, shown, textOf } from './index-damage.js';
import {
  COMPRESSIONS,
  DIGEST_SUBJECTS,
  LAYER_FORMATS,
  type Compression,
  type LayerFormat,
  type LayerInfo,
} from './layer-model.js';
import { FORMAT_VERSION } from './schema.js';
import { MAX_SPAN_SIZE, mostInflated } from './span-limits.js';

type LayerRow = Readonly<Record<string, unknown>>;

/** @throws IndexDamage that names the column */
export function readInfo(database: BetterSqlite3.Database): LayerInfo {
  const rows = database.prepare<[], LayerRow>('SELECT * FROM layer LIMIT 2').all();
  const [row] = rows;
  if (row === undefined || rows.length !== 1)
    throw new IndexDamage(
      `it describes ${row === undefined ? 'no layer' : 'several layers'}, expected one`,
    );
  const most = bytesIn(database);
  const compression = oneOf(COMPRESSIONS, row, 'compression');
  const format = oneOf(LAYER_FORMATS, row, 'format');
  const blobSize = integer(row, 'blob_size');
  const tarSize = integer(row, 'tar_size', 0, mostOfTar(compression, blobSize));
  return {
    formatVersion: FORMAT_VERSION,
    compression,
    format,
    formatReason: textOf('its format_reason', row['format_reason']),
    digestOf: oneOf(DIGEST_SUBJECTS, row, 'digest_of'),
    blobDigest: digest(row, 'blob_digest'),
    blobSize,
    // A tar has no other digest than that.
    diffId: digest(row, 'diff_id') as DiffId,
    tarSize,
    spanSize: spanSize(format, row),
    spanCount: integer(row, 'span_count', 0, tarSize),
    entryCount: integer(row, 'entry_count', 0, most),
    inodeCount: integer(row, 'inode_count', 1, most),
    hasXattrs: integer(row, 'has_xattrs', 0, 1) === 1,
    hasRootEntry: integer(row, 'has_root_entry', 0, 1) === 1,
    prefetchEnd: integer(row, 'prefetch_end', 0, tarSize),
  };
}

/** No row takes less than a byte. */
function bytesIn(database: BetterSqlite3.Database): number {
  const [pages, size] = ['page_count', 'page_size'].map((name) =>
    Number(database.pragma(name, { simple: true })),
  );
  return (pages ?? 0) * (size ?? 0);
}

/** What is not compressed is its tar. */
function mostOfTar(compression: Compression, blobSize: number): number {
  return compression === 'none' ? blobSize : mostInflated(blobSize);
}

/** Of a table of contents it says how large the largest is: 0 where the layer has no contents. */
function spanSize(format: LayerFormat, row: LayerRow): number {
  return format === 'siphon'
    ? integer(row, 'span_size', 1, MAX_SPAN_SIZE)
    : integer(row, 'span_size');
}

function integer(row: LayerRow, column: string, least?: number, most?: number): number {
  return integerOf(`its ${column}`, row[column], least, most);
}

function oneOf<T extends string>(known: readonly T[], row: LayerRow, column: string): T {
  const value = row[column];
  const found = known.find((one) => one === value);
  if (found !== undefined) return found;
  throw new IndexDamage(`its ${column} is ${shown(value)}, expected ${known.join(', ')}`);
}

function digest(row: LayerRow, column: string): Digest {
  const text = textOf(`its ${column}`, row[column]);
  if (isDigest(text)) return text;
  throw new IndexDamage(
    `its ${column} is ${shown(text)}, expected "sha256:" and 64 lower-case hex digits`,
  );
}

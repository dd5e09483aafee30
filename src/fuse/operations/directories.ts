/**
 * READDIR and READDIRPLUS. An entry's offset tells where the listing goes on after it: 1 after `.`,
 * 2 after `..`, and 2 more than the entry's position after the others. Positions never change, so a
 * listing may go on at any time, also in another life of the server.
 */

import { type Inode, rootIno } from '../../index/layer-model.js';
import { rootLayer } from '../root-directory.js';
import type { DirectoryRecord } from '../protocol/reply.js';
import type { Request } from '../protocol/request.js';
import {
  type Operation,
  type Outcome,
  type Serving,
  errno,
  forever,
  inodeOf,
} from './operation.js';

const dot = Buffer.from('.');
const dotDot = Buffer.from('..');
/** Offset after `..`. */
const afterDots = 2;
export const readdir: Operation = (serving, request, reply) =>
  list(serving, request, {
    smallest: 32,
    put: (record, limit) => reply.directoryEntry(record, limit),
  });

export const readdirplus: Operation = (serving, request, reply) =>
  list(serving, request, {
    smallest: 160,
    put: (record, limit) =>
      reply.directoryEntryPlus(record, limit, record.next <= afterDots ? undefined : forever),
  });

/** How entries are written. */
interface Listing {
  /** Bytes of an entry with the shortest name. */
  smallest: number;
  put(record: DirectoryRecord, limit: number): boolean;
}

function list(serving: Serving, request: Request, listing: Listing): Outcome {
  const self = inodeOf(serving, request);
  if (self === undefined) return errno.ESTALE;
  const offset = request.u64(8);
  const limit = request.u32(16);
  const { layer } = request;
  if (offset < 1 && !listing.put({ name: dot, layer, inode: self, next: 1 }, limit)) return 0;
  if (offset < afterDots && !listing.put(parentRecord(serving, request, self), limit)) return 0;
  const place = { after: Math.max(offset - afterDots, 0), limit };
  if (layer === rootLayer) putLayers(serving, place, listing);
  else putEntries(serving, request, place, listing);
  return 0;
}

function parentRecord(serving: Serving, request: Request, self: Inode): DirectoryRecord {
  const record = { name: dotDot, next: afterDots };
  if (request.layer === rootLayer || request.ino === rootIno) {
    return { ...record, layer: rootLayer, inode: serving.root.inode() };
  }
  const index = serving.layers.get(request.layer)?.index;
  const parent = index?.inode(index.parent(request.ino));
  return { ...record, layer: request.layer, inode: parent ?? self };
}

interface Place {
  /** Position of the last entry that the kernel has. */
  after: number;
  /** Bytes that it takes. */
  limit: number;
}

function putLayers(serving: Serving, { after, limit }: Place, listing: Listing): void {
  for (const { name, position: layer, inode } of serving.root.entries(after)) {
    if (!listing.put({ name, layer, inode, next: layer + afterDots }, limit)) return;
  }
}

function putEntries(serving: Serving, request: Request, place: Place, listing: Listing): void {
  const { after, limit } = place;
  const index = serving.layers.get(request.layer)?.index;
  const entries = index?.readdir(request.ino, after, Math.ceil(limit / listing.smallest)) ?? [];
  for (const { name, position, inode } of entries) {
    const record = { name, layer: request.layer, inode, next: position + afterDots };
    if (!listing.put(record, limit)) return;
  }
}

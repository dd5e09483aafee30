/**
 * READDIR and READDIRPLUS. An entry's offset tells where the listing goes on after it: 1 after `.`,
 * 2 after `..`, and 2 more than the entry's position after the others. Positions never change, so a
 * listing may go on at any time, also in another life of the server.
 */

import { S_IF } from '../../index/modes.js';
import { blankInode, rootIno } from '../../index/layer-model.js';
import type { DirectoryRecord, NamedInode } from '../protocol/reply.js';
import type { Request } from '../protocol/request.js';
import { rootLayer } from '../root-directory.js';
import { type Operation, type Outcome, type Serving, errno, forever } from './operation.js';

/** Offset after `..`. */
const afterDots = 2;
const dots = Buffer.from('..');

export const readdir: Operation = (serving, request, reply) =>
  list(serving, request, (record, limit) => reply.directoryEntry(record, limit));

export const readdirplus: Operation = (serving, request, reply) =>
  list(serving, request, (record, limit) =>
    reply.directoryEntryPlus(record, limit, record.next <= afterDots ? undefined : forever),
  );

/** Writes an entry; false where it does not fit. */
type Put = (record: DirectoryRecord, limit: number) => boolean;

function list(serving: Serving, request: Request, put: Put): Outcome {
  const offset = request.u64(8);
  const limit = request.u32(16);
  const putNext: PutNext = (entry, layer, next) => put({ entry, layer, next }, limit);
  if (request.layer === rootLayer) {
    listLayers(serving, offset, putNext);
    return 0;
  }
  const index = serving.layers.get(request.layer)?.index;
  if (index === undefined) return errno.ESTALE;
  if (offset < afterDots) {
    const parent = index.parent(request.ino);
    if (parent === undefined) return errno.ESTALE;
    const above = request.ino === rootIno ? rootLayer : request.layer;
    const self = { layer: request.layer, ino: request.ino };
    if (!putDots(offset, self, { layer: above, ino: parent }, putNext)) return 0;
  }
  index.visitEntries(request.ino, Math.max(offset - afterDots, 0), (entry, position) =>
    putNext(entry, request.layer, position + afterDots),
  );
  return 0;
}

type PutNext = (entry: NamedInode, layer: number, next: number) => boolean;

function listLayers(serving: Serving, offset: number, put: PutNext): void {
  const root = { layer: rootLayer, ino: rootIno };
  if (!putDots(offset, root, root, put)) return;
  for (const { name, position: layer, inode } of serving.root.entries(
    Math.max(offset - afterDots, 0),
  )) {
    const entry = { ...inode, bytes: name, nameStart: 0, nameEnd: name.length };
    if (!put(entry, layer, layer + afterDots)) return;
  }
}

interface Directory {
  layer: number;
  ino: number;
}

/** `.` and `..`, of which the kernel learns no more than the number. */
function putDots(offset: number, self: Directory, parent: Directory, put: PutNext): boolean {
  return (
    (offset >= 1 || put(dotEntry(self.ino, 1), self.layer, 1)) &&
    (offset >= afterDots || put(dotEntry(parent.ino, 2), parent.layer, afterDots))
  );
}

function dotEntry(ino: number, length: number): NamedInode {
  return { ...blankInode, ino, mode: S_IF.DIR, bytes: dots, nameStart: 0, nameEnd: length };
}

/** LOOKUP, GETATTR, READLINK, STATFS. */

import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Inode, rootIno } from '../../index/layer-model.js';
import type { OpenLayer } from '../layer-table.js';
import { rootLayer } from '../root-directory.js';
import {
  type Operation,
  type Outcome,
  type Serving,
  errno,
  forever,
  inodeOf,
  layerOf,
  rootValidity,
} from './operation.js';
import type { Reply } from '../protocol/reply.js';

const dot = Buffer.from('.');
const dotDot = Buffer.from('..');
const longestName = 255;

export const lookup: Operation = (serving, request, reply) => {
  const name = request.name(0);
  if (name.length > longestName) return errno.ENAMETOOLONG;
  if (request.layer === rootLayer) return lookupLayer(serving, name, reply);
  const layer = layerOf(serving, request);
  if (layer === undefined) return errno.ESTALE;
  // Only file handles are looked up by these names (FUSE_EXPORT_SUPPORT).
  if (name.equals(dotDot)) return lookupParent(serving, layer, request.ino, reply);
  const inode = name.equals(dot)
    ? layer.index.inode(request.ino)
    : layer.index.lookup(request.ino, name);
  if (inode === undefined) reply.noEntry(forever.entry);
  else reply.entry(layer.number, inode, forever);
  return 0;
};

function lookupLayer(serving: Serving, name: Buffer, reply: Reply): Outcome {
  if (name.equals(dot) || name.equals(dotDot)) return rootEntry(serving, reply);
  const number = serving.root.layer(name);
  if (number === undefined) return errno.ENOENT;
  const inode = serving.layers.get(number)?.index.inode(rootIno);
  if (inode === undefined) return errno.EIO;
  reply.entry(number, inode, forever);
  return 0;
}

function lookupParent(serving: Serving, layer: OpenLayer, ino: number, reply: Reply): Outcome {
  if (ino === rootIno) return rootEntry(serving, reply);
  const parentIno = layer.index.parent(ino);
  const parent = parentIno === undefined ? undefined : layer.index.inode(parentIno);
  if (parent === undefined) return errno.ESTALE;
  reply.entry(layer.number, parent, forever);
  return 0;
}

function rootEntry(serving: Serving, reply: Reply): Outcome {
  reply.entry(rootLayer, serving.root.inode(), { entry: rootValidity, attributes: rootValidity });
  return 0;
}

export const getattr: Operation = (serving, request, reply) => {
  const inode: Inode | undefined = inodeOf(serving, request);
  if (inode === undefined) return errno.ESTALE;
  const validity = request.layer === rootLayer ? rootValidity : forever.attributes;
  reply.attributes(request.layer, inode, validity);
  return 0;
};

export const readlink: Operation = (serving, request, reply) => {
  const layer = layerOf(serving, request);
  if (layer === undefined) return errno.ESTALE;
  const target = layer.index.readlink(request.ino);
  if (target === undefined) return errno.EINVAL;
  reply.bytes(target);
  return 0;
};

/** The file system that the span caches fill up: of this layer, or for the root of any. */
export const statfs: Operation = (serving, request, reply) => {
  const number = request.layer === rootLayer ? serving.layers.numbers()[0] : request.layer;
  const layer = number === undefined ? undefined : serving.layers.get(number);
  const of = statfsSync(layer === undefined ? '/' : dirname(layer.cachePath));
  reply.statistics({
    blocks: of.blocks,
    freeBlocks: of.bfree,
    availableBlocks: of.bavail,
    files: of.files,
    freeFiles: of.ffree,
    blockSize: of.bsize,
    nameLength: longestName,
  });
  return 0;
};

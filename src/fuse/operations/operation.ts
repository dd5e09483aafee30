/** What an operation on the tree gets to work with, and what it says about its answer. */

import { constants } from 'node:os';
import type { Inode } from '../../index/layer-model.js';
import type { Agreement } from '../protocol/init.js';
import type { Reply, Validity } from '../protocol/reply.js';
import type { Request } from '../protocol/request.js';
import type { DiskReadAhead } from '../disk-read-ahead.js';
import type { LayerTable, OpenLayer } from '../layer-table.js';
import { type RootDirectory, rootLayer } from '../root-directory.js';
import type { HeldRequest } from '../held-requests.js';
import type { MissedRead } from '../missed-read.js';

export const errno = constants.errno;

/**
 * The outcome of an operation: 0, with the results in the reply; an errno (positive); or one of the
 * two below.
 */
export type Outcome = number;
/** The kernel expects no answer. */
export const NO_REPLY = -1;
/** The main thread will answer. */
export const DEFERRED = -2;

/** What a worker serves from. */
export interface Serving {
  readonly layers: LayerTable;
  readonly root: RootDirectory;
  readonly agreement: Agreement;
  readonly ahead: DiskReadAhead;
  /** Hands a read to the main thread, because spans are absent. */
  defer(read: MissedRead): void;
  /** Tells the main thread of a request that is answered when the kernel sends it again. */
  hold(request: HeldRequest): void;
  /** Tells the main thread that the kernel wants this request given up. */
  interrupt(uniqueKey: number): void;
  /** Counts bytes of file contents that the kernel was given. */
  countBytes(bytes: number): void;
}

export type Operation = (serving: Serving, request: Request, reply: Reply) => Outcome;

const tenYears = 10 * 365 * 24 * 3600;
/** Layers never change. */
export const forever: Validity = { entry: tenYears, attributes: tenYears };
/** Attributes of the root directory do, as layers come; its entries are revoked when layers go. */
export const rootValidity = 1;

/** The layer that the request is about; `undefined` where it is served no longer (or is the root). */
export function layerOf(serving: Serving, request: Request): OpenLayer | undefined {
  return request.layer === rootLayer ? undefined : serving.layers.get(request.layer);
}

/** The inode that the request is about; `undefined` where there is none (ESTALE). */
export function inodeOf(serving: Serving, request: Request): Inode | undefined {
  if (request.layer === rootLayer) return serving.root.inode();
  return serving.layers.get(request.layer)?.index.inode(request.ino);
}

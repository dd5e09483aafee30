/**
 * READ and LSEEK. A read whose spans are all present goes from the cache file straight into the reply;
 * one that misses any is handed to the main thread as a whole.
 *
 * Whoever takes spans out of the cache clears their presence before their bytes: presence is looked at
 * before and after reading, so zeros from a hole just made are never handed out.
 */

import { readSync } from 'node:fs';
import type { Segment, SpanRange } from '../../index/layer-model.js';
import type { OpenLayer } from '../layer-table.js';
import { type Reply, replyHeaderSize } from '../protocol/reply.js';
import type { Request } from '../protocol/request.js';
import { absentSpans, noteUse, spansUnder } from '../span-presence.js';
import {
  DEFERRED,
  type Operation,
  type Outcome,
  type Serving,
  errno,
  layerOf,
} from './operation.js';

export const read: Operation = (serving, request, reply) => {
  const layer = layerOf(serving, request);
  if (layer === undefined) return errno.ESTALE;
  const size = Math.min(request.u32(16), reply.room);
  const offset = request.u64(8);
  const segments = layer.index.segments(request.ino, offset, size);
  for (;;) {
    const before = absentSpans(layer.index, layer.presence, segments);
    if (before !== undefined) {
      const spans = spansUnder(layer.index, segments);
      return defer(serving, request, { segments, spans, absent: before });
    }
    copySegments(layer, segments, reply);
    if (absentSpans(layer.index, layer.presence, segments) === undefined) break;
    reply.clear();
  }
  if (offset === 0) serving.ahead.began(layer, segments);
  noteUse(layer.index, layer.used, segments);
  serving.countBytes(reply.length - replyHeaderSize);
  return 0;
};

function copySegments(layer: OpenLayer, segments: readonly Segment[], reply: Reply): void {
  for (const segment of segments) {
    const start = reply.length;
    const end = start + segment.length;
    if (segment.kind === 'hole') reply.buffer.fill(0, start, end);
    else readWhole(layer, reply.buffer.subarray(start, end), segment.tarOffset);
    reply.length = end;
  }
}

function readWhole(layer: OpenLayer, into: Buffer, offset: number): void {
  for (let done = 0; done < into.length;) {
    const count = readSync(layer.cache, into, done, into.length - done, offset + done);
    if (count === 0) {
      throw new Error(`Cannot read "${layer.cachePath}" at ${offset + done}: the file ends there`);
    }
    done += count;
  }
}

function defer(
  serving: Serving,
  request: Request,
  { segments, spans, absent }: { segments: Segment[]; spans: number[]; absent: SpanRange },
): Outcome {
  serving.defer({
    uniqueLow: request.uniqueLow,
    uniqueHigh: request.uniqueHigh,
    pid: request.pid,
    layer: request.layer,
    ino: request.ino,
    segments,
    spans,
    firstSpan: absent.first,
    lastSpan: absent.last,
  });
  return DEFERRED;
}

/** Holes are told as the archive tells them: a file stored whole has none but the one at its end. */
export const lseek: Operation = (serving, request, reply) => {
  const layer = layerOf(serving, request);
  const inode = layer?.index.inode(request.ino);
  if (layer === undefined || inode === undefined) return errno.ESTALE;
  const offset = request.u64(8);
  const whence = request.u32(16);
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return errno.EINVAL;
  if (offset >= inode.size) return errno.ENXIO;
  const kind = whence === SEEK_DATA ? 'data' : 'hole';
  let at = offset;
  for (const segment of layer.index.segments(request.ino, offset, inode.size - offset)) {
    if (segment.kind === kind) break;
    at += segment.length;
  }
  if (at >= inode.size && whence === SEEK_DATA) return errno.ENXIO;
  reply.offset(at);
  return 0;
};

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * A worker's life: read a request, answer it, until the mount is gone. Nothing that an operation
 * throws ends the loop; it becomes EIO, and a message for the log.
 */

import { readSync, writeSync } from 'node:fs';
import { systemCode } from '../common/errors.js';
import { countRequest } from './counters.js';
import { NO_REPLY, DEFERRED, type Outcome, type Serving, errno } from './operations/operation.js';
import { operationFor } from './operations/operation-table.js';
import { opcode, opcodeNames } from './protocol/opcodes.js';
import { Reply } from './protocol/reply.js';
import { Request } from './protocol/request.js';
import { layerNumber, rootLayer } from './root-directory.js';

export interface Loop {
  device: number;
  counters: Float64Array;
  serving: Serving;
  /** Called with each request before it is answered, and whenever waiting for one was interrupted. */
  prepare(): void;
  /** Whether the loop shall end, asked after each answer, and whenever waiting for a request was interrupted. */
  ended(): boolean;
  /** Tells of an operation that threw. */
  failed(operation: string, request: Request, error: unknown): void;
}

/** Returns when the connection has ended or {@link Loop.ended} says so. */
export function serveRequests(loop: Loop): void {
  const request = new Request();
  const reply = new Reply(loop.serving.agreement.maxRead);
  do {
    const length = readRequest(loop.device, request.buffer);
    if (length === undefined) return;
    if (length > 0) answer(loop, request, reply, length);
    else loop.prepare();
  } while (!loop.ended());
}

/** Bytes read; 0 where there is nothing after all; `undefined` where the connection has ended. */
function readRequest(device: number, buffer: Buffer): number | undefined {
  try {
    return readSync(device, buffer, 0, buffer.length, null);
  } catch (error) {
    switch (systemCode(error)) {
      case 'ENODEV': // unmounted
      case 'ECONNABORTED':
      case 'EBADF':
        return undefined;
      case 'EINTR':
      case 'EAGAIN':
      case 'ENOENT': // the request was taken back
        return 0;
      default:
        throw error;
    }
  }
}

function answer(loop: Loop, request: Request, reply: Reply, length: number): void {
  reply.clear();
  const outcome = perform(loop, request, reply, length);
  if (outcome === NO_REPLY || outcome === DEFERRED) return;
  reply.finish(request.uniqueLow, request.uniqueHigh, outcome);
  try {
    writeSync(loop.device, reply.buffer, 0, reply.length);
  } catch (error) {
    // ENOENT: nobody waits for it any more. ENODEV: the next read says so too.
    const code = systemCode(error);
    if (code !== 'ENOENT' && code !== 'ENODEV') loop.failed('reply', request, error);
  }
  readAhead(loop, request);
}

/** While the reader goes on with the answer. */
function readAhead(loop: Loop, request: Request): void {
  try {
    loop.serving.ahead.answered(request.layer);
  } catch (error) {
    loop.failed('read-ahead', request, error);
  }
}

function perform(loop: Loop, request: Request, reply: Reply, length: number): Outcome {
  try {
    loop.prepare();
    request.load(length);
    countRequest(loop.counters, request.opcode);
    if (isAwaited(loop.serving, request)) {
      loop.serving.hold(request);
      return DEFERRED;
    }
    return operationFor(request.opcode)(loop.serving, request, reply);
  } catch (error) {
    loop.failed(opcodeNames[request.opcode] ?? String(request.opcode), request, error);
    return errno.EIO;
  }
}

/** Whether the request is about a layer that is not there yet, or looks it up. */
function isAwaited({ layers }: Serving, request: Request): boolean {
  if (!layers.hasAwaited) return false;
  if (request.layer !== rootLayer) return answered(request) && layers.isAwaited(request.layer);
  if (request.opcode !== opcode.LOOKUP) return false;
  const number = layerNumber(request.name(0).toString('latin1'));
  return number !== undefined && layers.isAwaited(number);
}

function answered({ opcode: one }: Request): boolean {
  return one !== opcode.FORGET;
}

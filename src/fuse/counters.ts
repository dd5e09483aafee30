/** Counters of one worker, in memory that all threads see: requests by opcode, then bytes read. */

import { opcodeLimit, opcodeNames } from './protocol/opcodes.js';

const bytesAt = opcodeLimit;

/** Counters for one worker, all zero. */
export function createCounters(): Float64Array {
  return new Float64Array(
    new SharedArrayBuffer((opcodeLimit + 1) * Float64Array.BYTES_PER_ELEMENT),
  );
}

/** Only the worker that owns `counters` may count. Unknown opcodes count as 0. */
export function countRequest(counters: Float64Array, opcode: number): void {
  const at = opcode < opcodeLimit ? opcode : 0;
  counters[at] = (counters[at] ?? 0) + 1;
}

export function countBytes(counters: Float64Array, bytes: number): void {
  counters[bytesAt] = (counters[bytesAt] ?? 0) + bytes;
}

/** The sum over all workers; operations that never came are left out. */
export function sumCounters(all: readonly Float64Array[]): {
  requests: Record<string, number>;
  bytesRead: number;
} {
  const requests: Record<string, number> = {};
  for (let opcode = 0; opcode < opcodeLimit; opcode += 1) {
    const count = sumAt(all, opcode);
    if (count > 0) requests[opcodeNames[opcode] ?? 'unknown'] = count;
  }
  return { requests, bytesRead: sumAt(all, bytesAt) };
}

function sumAt(all: readonly Float64Array[], at: number): number {
  return all.reduce((sum, counters) => sum + (counters[at] ?? 0), 0);
}

/** Standard streams whose reader may stand still while this process goes on: signals, sockets, timers. */

import type { Writable } from 'node:stream';

/**
 * Lets what a terminal does not take wait in `stream`, as for a pipe. Left alone, Node waits for terminals
 * inside write(2), and hears nothing meanwhile.
 */
export function makePatient(stream: Writable & { isTTY?: boolean }): void {
  if (stream.isTTY === true && hasHandle(stream)) stream._handle.setBlocking?.(false);
}

/** Resolves when `stream` takes more without keeping much in memory, or will never take anything again. */
export function takesMore(stream: Writable): Promise<void> {
  return new Promise((done) => {
    const events = ['drain', 'error', 'close'] as const;
    const end = (): void => {
      for (const event of events) stream.off(event, end);
      done();
    };
    if (!stream.writableNeedDrain || stream.destroyed) return done();
    for (const event of events) stream.on(event, end);
  });
}

/** Node's streams of descriptors have it; it is not documented, so its absence is no error. */
interface WithHandle {
  _handle: { setBlocking?: (blocking: boolean) => void };
}

function hasHandle(stream: object): stream is WithHandle {
  return '_handle' in stream && typeof stream._handle === 'object' && stream._handle !== null;
}

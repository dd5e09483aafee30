/**
 * A container's standard streams. What is a file, pipe or terminal goes to the process as it is.
 * For a stream of ours, and for a socket (which is what a parent in Node gives us), a pipe is put in
 * between: a process can open /dev/stdout again on a pipe, but never on a socket.
 */

import { closeSync, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { pipe } from '../ffi/pipe.js';
import type { ProcessStdio } from './run-options.js';

export interface ProcessStreams {
  /** Standard input, output and error for the child. */
  readonly fds: readonly number[];
  /** To be called once the child has them, or will never. */
  release(): void;
  /** Resolves when all output is handed on; to be called when the child has ended. */
  finish(): Promise<void>;
  /** Gives up output that may never end; {@link finish} then resolves. */
  abandon(): void;
}

type Target<Stream> = 'inherit' | 'ignore' | number | Stream;

/** Opens the streams `stdio` asks for. */
export function openStreams(stdio: ProcessStdio): ProcessStreams {
  const owned: number[] = [];
  const input = openInput(stdio.stdin ?? 'inherit', owned);
  const outputs = [
    openOutput(stdio.stdout ?? 'inherit', 1, owned),
    openOutput(stdio.stderr ?? 'inherit', 2, owned),
  ];
  return {
    fds: [input.fd, ...outputs.map((output) => output.fd)],
    release() {
      for (const fd of owned.splice(0)) closeSync(fd);
    },
    async finish() {
      input.detach();
      await Promise.all(outputs.map((output) => output.ended));
    },
    abandon() {
      for (const output of outputs) output.abandon();
    },
  };
}

function openInput(target: Target<Readable>, owned: number[]): { fd: number; detach: () => void } {
  const fd = descriptor(target, 0, owned);
  if (fd !== undefined) return { fd, detach: () => {} };
  const { read, write } = pipe();
  owned.push(read);
  const source = typeof target === 'object' ? target : process.stdin;
  const sink = new Socket({ fd: write, readable: false, writable: true });
  sink.on('error', () => {}); // The process closed its input: nobody is left to be told.
  source.pipe(sink);
  return {
    fd: read,
    detach: () => {
      source.unpipe(sink);
      sink.destroy();
      source.pause();
    },
  };
}

interface OutputStream {
  fd: number;
  /** Resolves when all of it is handed on. */
  ended: Promise<void>;
  abandon: () => void;
}

function openOutput(target: Target<Writable>, number: 1 | 2, owned: number[]): OutputStream {
  const fd = descriptor(target, number, owned);
  if (fd !== undefined) return { fd, ended: Promise.resolve(), abandon: () => {} };
  const { read, write } = pipe();
  owned.push(write);
  const sink = typeof target === 'object' ? target : number === 1 ? process.stdout : process.stderr;
  const source = new Socket({ fd: read, readable: true, writable: false });
  return { fd: write, ended: copyTo(source, sink), abandon: () => void source.destroy() };
}

/** Resolves when `source` is at its end; a `sink` that goes away makes the writer's next write fail. */
function copyTo(source: Socket, sink: Writable): Promise<void> {
  const drop = (): void => void source.destroy();
  const events = ['close', 'error'] as const;
  for (const event of events) sink.once(event, drop);
  source.on('error', drop);
  source.pipe(sink, { end: false });
  return new Promise((resolve) => {
    source.once('close', () => {
      for (const event of events) sink.off(event, drop);
      resolve();
    });
  });
}

/** The descriptor the process can have as it is, or `undefined` where a pipe is needed. */
function descriptor(
  target: Target<unknown>,
  inherited: number,
  owned: number[],
): number | undefined {
  if (target === 'ignore') {
    const fd = openSync('/dev/null', inherited === 0 ? 'r' : 'w');
    owned.push(fd);
    return fd;
  }
  if (typeof target === 'number') return target;
  return target === 'inherit' && !fstatSync(inherited).isSocket() ? inherited : undefined;
}

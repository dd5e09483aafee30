/**
 * A container's standard streams. A descriptor that is given, an input that is a file, pipe or terminal, and a
 * terminal that shall be the process's, go to the process as they are. Everything else passes through a pipe and this
 * process: a process can open /dev/stdout again on a pipe, but never on a socket, which is what a parent in Node
 * gives us; and runtimes copy what a process prints, and do not tell what they cannot write.
 */

import { closeSync, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { systemCode } from '../common/errors.js';
import { ownOutput } from '../common/own-output.js';
import { pipe } from '../ffi/pipe.js';
import type { ProcessStdio } from './run-options.js';

export interface ProcessStreams {
  /** Standard input, output and error for the child. */
  readonly fds: readonly number[];
  /** To be called once the child has them, or will never. */
  release(): void;
  /**
   * Resolves when all output is handed on; to be called when the child has ended.
   * @returns why something of it could not be, unless nobody wanted it any more
   */
  finish(): Promise<unknown>;
  /** Gives up output that may never end; {@link finish} then resolves. */
  abandon(): void;
}

export interface StreamOptions {
  /** The process has a terminal, and nothing beside it. */
  terminal?: boolean | undefined;
  /** Whether the first that comes on standard error is of the runtime itself; it is dropped then. */
  isComplaint: (text: string) => boolean;
}

type Target<Stream> = 'inherit' | 'ignore' | number | Stream;

/** Opens the streams `stdio` asks for. */
export function openStreams(
  stdio: ProcessStdio,
  { terminal = false, isComplaint }: StreamOptions,
): ProcessStreams {
  const owned: number[] = [];
  const { stdin = 'inherit', stdout = 'inherit', stderr = 'inherit' } = stdio;
  const input = openInput(stdin, owned);
  const outputs = [
    openOutput(terminal && stdout === 'inherit' && isatty(1) ? 1 : stdout, 1, owned),
    // Of a process with a terminal, only what the runtime says of itself comes here.
    openOutput(terminal ? 'ignore' : stderr, 2, owned, isComplaint),
  ];
  return {
    fds: [input.fd, ...outputs.map((output) => output.fd)],
    release() {
      for (const fd of owned.splice(0)) closeSync(fd);
    },
    async finish() {
      input.detach();
      const failures = await Promise.all(outputs.map((output) => output.ended));
      return failures.find((failure) => failure !== undefined);
    },
    abandon() {
      for (const output of outputs) output.abandon();
    },
  };
}

function openInput(target: Target<Readable>, owned: number[]): { fd: number; detach: () => void } {
  const fd = descriptor(target, 'r', owned) ?? (isInheritable(target) ? 0 : undefined);
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

function isInheritable(target: Target<Readable>): boolean {
  return target === 'inherit' && !fstatSync(0).isSocket();
}

interface OutputStream {
  fd: number;
  /** Resolves when all of it is handed on, as {@link ProcessStreams.finish}. */
  ended: Promise<unknown>;
  abandon: () => void;
}

function openOutput(
  target: Target<Writable>,
  number: 1 | 2,
  owned: number[],
  isDropped?: (text: string) => boolean,
): OutputStream {
  const fd = descriptor(target, 'w', owned);
  if (fd !== undefined) return { fd, ended: Promise.resolve(), abandon: () => {} };
  const { read, write } = pipe();
  owned.push(write);
  const sink = typeof target === 'object' ? target : ownOutput(number);
  const source = new Socket({ fd: read, readable: true, writable: false });
  return {
    fd: write,
    ended: copyTo(source, sink, isDropped),
    abandon: () => void source.destroy(),
  };
}

/**
 * Resolves when `source` is at its end; a `sink` that goes away makes the writer's next write fail.
 * @param isDropped says it of the first that comes
 * @returns why `sink` did not take all of it, unless nobody read it any more
 */
function copyTo(
  source: Socket,
  sink: Writable,
  isDropped: (text: string) => boolean = () => false,
): Promise<unknown> {
  let failure: unknown;
  const drop = (): void => void source.destroy();
  const fail = (error: Error): void => {
    if (systemCode(error) !== 'EPIPE') failure ??= error;
    drop();
  };
  sink.once('close', drop);
  sink.once('error', fail);
  source.on('error', drop);
  source.once('data', (first: Buffer) => {
    source.pause();
    if (!isDropped(first.toString())) sink.write(first);
    source.pipe(sink, { end: false });
  });
  return new Promise((resolve) => {
    source.once('close', () => {
      sink.off('close', drop);
      sink.off('error', fail);
      resolve(failure);
    });
  });
}

/** The descriptor that `target` is without further ado; what is opened for it is added to `owned`. */
function descriptor(target: Target<unknown>, mode: 'r' | 'w', owned: number[]): number | undefined {
  if (typeof target === 'number') return target;
  if (target !== 'ignore') return undefined;
  const fd = openSync('/dev/null', mode);
  owned.push(fd);
  return fd;
}

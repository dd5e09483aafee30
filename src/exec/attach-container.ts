/** Being attached to a detached container: its output here, what is typed here there. */

import type { Socket } from 'node:net';
import type { ReadStream, WriteStream } from 'node:tty';
import { SiphonError, systemCode } from '../common/errors.js';
import { type Frame, FrameReader, encodeFrame } from './attach-protocol.js';
import { connectTo } from './attach-server.js';
import type { ContainerHome } from './container-home.js';
import { DetachKeys } from './detach-keys.js';

export interface AttachOptions {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
  /** The container has a terminal: ours becomes it. */
  terminal: boolean;
  /** Emits the signals to hand on. */
  signalSource: NodeJS.EventEmitter;
}

const HANDED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/**
 * Stays until the container's process ends, or the person leaves it by Ctrl-P Ctrl-Q.
 * @returns its exit code; `undefined` where it goes on without us
 * @throws SiphonError `failed-precondition` (nothing to attach to), `unavailable` (its keeper ended)
 */
export async function attachContainer(
  home: ContainerHome,
  options: AttachOptions,
): Promise<number | undefined> {
  const socket = await connectTo(home.path).catch((cause: unknown) => {
    throw notAttachable(home.id, cause);
  });
  const undo = [handOnSignals(socket, options)];
  try {
    const ended = outcome(socket, home.id, options);
    undo.push(options.terminal ? becomeTerminal(socket, options) : handOnInput(socket, options));
    return await ended;
  } finally {
    for (const step of undo.toReversed()) step();
    socket.destroy();
  }
}

function outcome(
  socket: Socket,
  id: string,
  { stdout, stderr }: AttachOptions,
): Promise<number | undefined> {
  return new Promise((done, fail) => {
    const reader = new FrameReader();
    const take = (frame: Frame): void => {
      if (frame.kind === 'exit') done(frame.code);
      else if (frame.kind === 'stdout') write(socket, stdout, frame.data);
      else if (frame.kind === 'stderr') write(socket, stderr, frame.data);
    };
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) take(frame);
      } catch {
        socket.destroy(); // which is told as any other end of the link
      }
    });
    socket.once('detach', () => done(undefined));
    socket.on('error', () => {}); // what follows is 'close'
    socket.once('close', () => fail(keeperEnded(id)));
  });
}

/** A slow reader slows the link, and is let go of by the other end if it is too slow. */
function write(socket: Socket, target: NodeJS.WriteStream, data: Buffer): void {
  if (target.write(data)) return;
  socket.pause();
  target.once('drain', () => socket.resume());
}

function becomeTerminal(socket: Socket, { stdin, stdout }: AttachOptions): () => void {
  if (!isTerminal(stdin)) return () => {}; // then it is only watched
  const keys = new DetachKeys();
  const type = (chunk: Buffer): void => {
    const { data, detach } = keys.push(chunk);
    if (data.length > 0) send(socket, { kind: 'input', data });
    if (detach) socket.emit('detach');
  };
  const resize = (): void => {
    const [columns, rows] = isScreen(stdout) ? stdout.getWindowSize() : [0, 0];
    if (columns > 0 && rows > 0) send(socket, { kind: 'resize', columns, rows });
  };
  stdin.setRawMode(true);
  stdin.on('data', type);
  stdin.resume();
  stdout.on('resize', resize);
  resize();
  return () => {
    stdin.setRawMode(false);
    stdin.off('data', type);
    stdin.pause();
    stdout.off('resize', resize);
  };
}

function handOnInput(socket: Socket, { stdin }: AttachOptions): () => void {
  const hand = (data: Buffer): void => send(socket, { kind: 'input', data });
  // A terminal of ours that is not the container's ends its input by Ctrl-D.
  const end = (): void => send(socket, { kind: 'input-end' });
  stdin.on('data', hand);
  stdin.once('end', end);
  stdin.resume();
  return () => {
    stdin.off('data', hand);
    stdin.off('end', end);
    stdin.pause();
  };
}

function handOnSignals(socket: Socket, { signalSource }: AttachOptions): () => void {
  const hand = (name: string): void => send(socket, { kind: 'signal', name });
  for (const name of HANDED_ON) signalSource.on(name, hand);
  return () => {
    for (const name of HANDED_ON) signalSource.off(name, hand);
  };
}

function send(socket: Socket, frame: Frame): void {
  if (socket.writable) socket.write(encodeFrame(frame));
}

function isTerminal(stream: NodeJS.ReadStream): stream is ReadStream {
  return stream.isTTY;
}

function isScreen(stream: NodeJS.WriteStream): stream is WriteStream {
  return stream.isTTY;
}

function notAttachable(id: string, cause: unknown): unknown {
  if (systemCode(cause) !== 'ENOENT' && systemCode(cause) !== 'ECONNREFUSED') return cause;
  return new SiphonError(
    'failed-precondition',
    `Cannot attach to container "${id}": it has no socket, expected one that runs detached`,
    { hint: 'A container in the foreground of another terminal has that one alone.' },
  );
}

function keeperEnded(id: string): SiphonError {
  return new SiphonError(
    'unavailable',
    `Cannot stay attached to container "${id}": the process that keeps it ended`,
  );
}

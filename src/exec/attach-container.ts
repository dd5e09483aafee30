/** Being attached to a detached container: its output here, what is typed here there. */

import type { Socket } from 'node:net';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import { type ReadStream, type WriteStream, isatty } from 'node:tty';
import { SiphonError, systemCode } from '../common/errors.js';
import { takesMore } from '../common/patient-stream.js';
import { enterRawMode } from '../ffi/pty.js';
import { type Frame, FrameReader, encodeFrame } from './attach-protocol.js';
import { connectTo } from './attach-server.js';
import type { ContainerHome } from './container-home.js';
import { DetachKeys } from './detach-keys.js';
import { outputError } from './output-error.js';

export interface AttachOptions {
  stdin: NodeJS.ReadStream & { fd: number };
  stdout: Writable;
  stderr: Writable;
  /** The container has a terminal: ours becomes it. */
  terminal: boolean;
  /** The container is in the foreground here: it waits where we do not take its output, and hears that our terminal is gone. */
  holds: boolean;
  /** Emits the signals to hand on. */
  signalSource: NodeJS.EventEmitter;
  /** The person does not want to wait for the container's end, nor for what it printed. */
  impatience: AbortSignal;
}

const HANDED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/** How long the end may take of a container that is killed because nobody waits for it, ms. */
const LAST_PATIENCE = 2000;

/**
 * Stays until the container's process has ended and all it printed is taken, or until the person leaves it: by
 * Ctrl-P Ctrl-Q, or because nobody reads us any more.
 * @returns its exit code; `left` where it goes on without us, `hung up` where our terminal is gone
 * @throws SiphonError `failed-precondition` (nothing to attach to), `unavailable` (its keeper ended; we are
 * much slower than it), `no-space` and such (what it printed cannot be written)
 */
export async function attachContainer(
  home: ContainerHome,
  options: AttachOptions,
): Promise<Departure> {
  const socket = await connectTo(home.path).catch((cause: unknown) => {
    throw notAttachable(home.id, cause);
  });
  const undo: (() => void)[] = [];
  try {
    return await new Promise<Departure>((leave, fail) => {
      const link = { ...options, home, socket, leave, fail };
      undo.push(showOutput(link), handOnSignals(link));
      undo.push(options.terminal ? becomeTerminal(link) : handOnInput(link));
    });
  } finally {
    for (const step of undo.toReversed()) step();
    socket.destroy();
  }
}

/** How it ended: by the container's exit code, or without it. */
export type Departure = number | 'left' | 'hung up';

interface Link extends AttachOptions {
  home: ContainerHome;
  socket: Socket;
  leave: (departure: Departure) => void;
  fail: (error: unknown) => void;
}

function showOutput(link: Link): () => void {
  const { socket, home, stdout, stderr, leave, fail, holds } = link;
  for (const stream of [stdout, stderr]) {
    stream.on('error', (error: Error) => onUnwritable(link, error));
  }
  const reader = new FrameReader();
  const take = (frame: Frame): void => {
    if (frame.kind === 'exit') void allTaken(stdout, stderr).then(() => leave(frame.code));
    else if (frame.kind === 'stdout') write(socket, stdout, frame.data);
    else if (frame.kind === 'stderr') write(socket, stderr, frame.data);
    else if (frame.kind === 'lagging') fail(tooSlow(home.id));
    if (frame.kind === 'exit') socket.off('close', lost);
  };
  const lost = (): void => fail(keeperEnded(home.id));
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const frame of joined(reader.push(chunk))) take(frame);
    } catch {
      socket.destroy(); // which is told as any other end of the link
    }
  });
  socket.on('error', () => {}); // what follows is 'close'
  socket.once('close', lost);
  if (holds) send(socket, { kind: 'hold' });
  return () => socket.off('close', lost);
}

/** Frames of one stream that follow one another are one: each becomes a write. */
function joined(frames: readonly Frame[]): Frame[] {
  const groups: Frame[][] = [];
  for (const frame of frames) {
    const group = groups.at(-1);
    if (group?.[0]?.kind === frame.kind) group.push(frame);
    else groups.push([frame]);
  }
  return groups.flatMap((group) => {
    const [first] = group;
    if (first?.kind !== 'stdout' && first?.kind !== 'stderr') return group;
    const parts = group.flatMap((frame) => ('data' in frame ? [frame.data] : []));
    return [{ kind: first.kind, data: Buffer.concat(parts) }];
  });
}

/** A slow reader slows the link, and the container where we hold it. */
function write(socket: Socket, target: Writable, data: Buffer): void {
  if (target.write(data)) return;
  socket.pause();
  void takesMore(target).then(() => socket.resume());
}

/** Resolves when nothing waits to be written; what cannot be has been told. */
async function allTaken(...streams: readonly Writable[]): Promise<void> {
  await Promise.all(
    streams.map((stream) => new Promise<void>((done) => stream.write('', () => done()))),
  );
}

function onUnwritable(link: Link, error: Error): void {
  const code = systemCode(error);
  if (code === 'EIO' || (code === 'EPIPE' && link.holds)) hangUp(link);
  else if (code === 'EPIPE') link.leave('left');
  else link.fail(outputError(link.home.id, error));
}

/** Our terminal is gone, or whoever read us: as the kernel would tell a program that runs on it. */
function hangUp({ holds, home, leave }: Link): void {
  const told = holds ? sendSignal(home, 'SIGHUP') : Promise.resolve();
  void told.then(() => leave('hung up'));
}

function becomeTerminal(link: Link): () => void {
  const { stdin, stdout, socket, leave } = link;
  if (!isTerminal(stdin)) return () => {}; // then it is only watched
  const keys = new DetachKeys();
  const type = (chunk: Buffer): void => {
    const { data, detach } = keys.push(chunk);
    if (data.length > 0) handIn(link, data);
    if (detach) leave('left');
  };
  const resize = (): void => {
    const [columns, rows] = isScreen(stdout) ? stdout.getWindowSize() : [0, 0];
    if (columns > 0 && rows > 0) send(socket, { kind: 'resize', columns, rows });
  };
  const gone = (): void => hangUp(link);
  const leaveRawMode = enterRawMode(link.stdin.fd);
  stdin.on('data', type);
  stdin.once('end', gone);
  stdin.once('error', gone);
  stdin.resume();
  stdout.on('resize', resize);
  resize();
  return () => {
    stdin.off('data', type);
    stdin.off('end', gone);
    stdin.pause();
    stdout.off('resize', resize);
    leaveRawMode();
  };
}

function handOnInput(link: Link): () => void {
  const { stdin, socket } = link;
  const hand = (data: Buffer): void => handIn(link, data);
  // A terminal of ours that is not the container's ends its input by Ctrl-D.
  const end = (): void =>
    isTerminalGone(stdin) ? hangUp(link) : send(socket, { kind: 'input-end' });
  stdin.on('data', hand);
  stdin.once('end', end);
  stdin.once('error', end);
  stdin.resume();
  return () => {
    stdin.off('data', hand);
    stdin.off('end', end);
    stdin.pause();
  };
}

function handIn({ socket, stdin }: Link, data: Buffer): void {
  send(socket, { kind: 'input', data });
  if (!socket.writableNeedDrain) return;
  stdin.pause();
  void takesMore(socket).then(() => stdin.resume());
}

function handOnSignals(link: Link): () => void {
  const { home, stdin, signalSource, terminal, holds, impatience, leave } = link;
  const hand = (name: string): void => {
    const isHangup = name === 'SIGHUP' && (terminal || !holds || isTerminalGone(stdin));
    if (isHangup) hangUp(link);
    else void sendSignal(home, name);
  };
  let late: NodeJS.Timeout | undefined;
  const hurry = (): void => {
    late = setTimeout(() => leave(128 + constants.signals.SIGKILL), LAST_PATIENCE);
  };
  for (const name of HANDED_ON) signalSource.on(name, hand);
  impatience.addEventListener('abort', hurry);
  return () => {
    for (const name of HANDED_ON) signalSource.off(name, hand);
    impatience.removeEventListener('abort', hurry);
    clearTimeout(late);
  };
}

/** By a link of its own: on the other, what was typed may wait for a program that does not read. */
async function sendSignal(home: ContainerHome, name: string): Promise<void> {
  const socket = await connectTo(home.path).catch(() => undefined); // the container is over
  await new Promise<void>((done) => {
    if (socket === undefined) return done();
    socket.on('error', () => {});
    socket.once('close', () => done());
    socket.resume();
    socket.end(encodeFrame({ kind: 'signal', name }));
  });
}

function send(socket: Socket, frame: Frame): void {
  if (socket.writable) socket.write(encodeFrame(frame));
}

function isTerminal(stream: NodeJS.ReadStream): stream is ReadStream {
  return stream.isTTY;
}

function isScreen(stream: Writable): stream is WriteStream {
  return 'isTTY' in stream && stream.isTTY === true;
}

/** Its end is then no end of input that somebody typed. */
function isTerminalGone(stdin: AttachOptions['stdin']): boolean {
  return isTerminal(stdin) && !isatty(stdin.fd);
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

function tooSlow(id: string): SiphonError {
  return new SiphonError(
    'unavailable',
    `Cannot stay attached to container "${id}": much of what it prints is not taken here, expected a faster reader`,
    { hint: `siphon logs ${id} has all of it.` },
  );
}

/** The socket of a detached container: whoever connects gets its output and may write to its input. */

import { type FileHandle, open, rm } from 'node:fs/promises';
import { type Server, type Socket, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type Frame, FrameReader, encodeFrame } from './attach-protocol.js';

const SOCKET = 'attach';

/** Bytes that may wait for a client that reads slowly; then it is let go of. */
const MAX_BACKLOG = 8 * 1024 * 1024;

/** How long clients may take to read the end of the output, ms. */
const LAST_PATIENCE = 2000;

export class AttachServer {
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #folder: string;
  /** Resolves when somebody has connected. */
  readonly attached: Promise<void>;
  #tellAttached = (): void => {};

  private constructor(folder: string, onFrame: (frame: Frame) => void) {
    this.#folder = folder;
    this.attached = new Promise((done) => (this.#tellAttached = done));
    this.#server = createServer((socket) => this.#welcome(socket, onFrame));
  }

  /**
   * @param folder only its owner may enter it
   * @param onFrame gets what clients say; one that says nonsense is let go of
   */
  static async listen(folder: string, onFrame: (frame: Frame) => void): Promise<AttachServer> {
    const attach = new AttachServer(folder, onFrame);
    await rm(join(folder, SOCKET), { force: true });
    await atSocket(folder, (path) => listening(attach.#server, path));
    return attach;
  }

  broadcast(frame: Frame): void {
    const bytes = encodeFrame(frame);
    for (const client of this.#clients) {
      if (client.writableLength > MAX_BACKLOG) client.destroy();
      else client.write(bytes);
    }
  }

  /** Says goodbye with the exit code. */
  async close(code: number): Promise<void> {
    this.#server.close();
    this.broadcast({ kind: 'exit', code });
    await Promise.all([...this.#clients].map(endOf));
    await rm(join(this.#folder, SOCKET), { force: true });
  }

  #welcome(socket: Socket, onFrame: (frame: Frame) => void): void {
    const reader = new FrameReader();
    this.#clients.add(socket);
    this.#tellAttached();
    socket.once('close', () => this.#clients.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) onFrame(frame);
      } catch {
        socket.destroy();
      }
    });
  }
}

/** Connects to the container whose folder this is. @throws the system error where nobody listens */
export function connectTo(folder: string): Promise<Socket> {
  return atSocket(folder, (path) => {
    const socket = connect(path);
    return new Promise((done, fail) => {
      socket.once('connect', () => done(socket));
      socket.once('error', fail);
    });
  });
}

/** A unix socket's path has 107 bytes at most, so it is named by way of its folder's descriptor. */
async function atSocket<T>(folder: string, use: (path: string) => Promise<T>): Promise<T> {
  const handle: FileHandle = await open(folder, 'r');
  try {
    return await use(`/proc/self/fd/${handle.fd}/${SOCKET}`);
  } finally {
    await handle.close();
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(path, done);
  });
}

function endOf(socket: Socket): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(() => socket.destroy(), LAST_PATIENCE);
    socket.once('close', () => {
      clearTimeout(timer);
      done();
    });
    socket.end();
  });
}

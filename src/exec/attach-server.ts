/** The socket of a detached container: whoever connects gets its output and may write to its input. */

import { type FileHandle, open, rm } from 'node:fs/promises';
import { type Server, type Socket, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { takesMore } from '../common/patient-stream.js';
import { type Frame, FrameReader, encodeFrame } from './attach-protocol.js';

const SOCKET = 'attach';

/** Bytes that may wait for a client that reads slowly; then it is let go of, unless it holds the container. */
const MAX_BACKLOG = 8 * 1024 * 1024;

/** Gets a frame; the next ones of its client wait for what it returns. */
export type OnFrame = (frame: Frame) => Promise<void> | undefined;

export class AttachServer {
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  /** Those of them that the container waits for. */
  readonly #holders = new Set<Socket>();
  readonly #folder: string;
  /** Resolves when somebody has connected. */
  readonly attached: Promise<void>;
  #tellAttached = (): void => {};

  private constructor(folder: string, onFrame: OnFrame) {
    this.#folder = folder;
    this.attached = new Promise((done) => (this.#tellAttached = done));
    this.#server = createServer((socket) => this.#welcome(socket, onFrame));
  }

  /**
   * @param folder only its owner may enter it
   * @param onFrame gets what clients say; one that says nonsense is let go of
   */
  static async listen(folder: string, onFrame: OnFrame): Promise<AttachServer> {
    const attach = new AttachServer(folder, onFrame);
    await rm(join(folder, SOCKET), { force: true });
    await atSocket(folder, (path) => listening(attach.#server, path));
    return attach;
  }

  broadcast(frame: Frame): void {
    const bytes = encodeFrame(frame);
    for (const client of this.#clients) {
      client.write(bytes);
      if (client.writableLength <= MAX_BACKLOG || this.#holders.has(client)) continue;
      this.#clients.delete(client);
      client.end(encodeFrame({ kind: 'lagging' }));
    }
  }

  /** Resolves when a client that holds the container has taken what waits; `undefined` where none is behind. */
  behind(): Promise<void> | undefined {
    for (const client of this.#holders) {
      if (client.writableNeedDrain && !client.destroyed) return takesMore(client);
    }
    return undefined;
  }

  /** Takes no more clients. */
  async close(): Promise<void> {
    this.#server.close();
    await rm(join(this.#folder, SOCKET), { force: true });
  }

  /** Says goodbye, with the exit code; this process lives until all have taken it, or are gone. */
  leave(code: number): void {
    this.broadcast({ kind: 'exit', code });
    for (const client of this.#clients) client.end();
  }

  #welcome(socket: Socket, onFrame: OnFrame): void {
    const reader = new FrameReader();
    this.#clients.add(socket);
    this.#tellAttached();
    socket.once('close', () => {
      this.#clients.delete(socket);
      this.#holders.delete(socket);
    });
    socket.on('error', () => socket.destroy());
    const take = (frame: Frame): void => {
      if (frame.kind === 'hold') this.#holders.add(socket);
      const full = onFrame(frame);
      if (full === undefined) return;
      socket.pause();
      void full.then(() => socket.resume());
    };
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) take(frame);
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

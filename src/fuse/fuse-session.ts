/**
 * A kernel mount that serves image layers, each under its number.
 *
 * Worker threads answer everything that is present. What has to be waited for, and what is told to the
 * kernel unasked, is done here on the main thread, without ever blocking in the kernel: a look-up in
 * the mount may hold a lock that a notification needs, and is answered by the workers meanwhile. The
 * main thread must not read files of the mount synchronously, for it may be the one to fetch them.
 */

import { closeSync, write } from 'node:fs';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { type Logger, silentLogger } from '../common/log.js';
import { MNT, umount } from '../ffi/libc.js';
import { sumCounters } from './counters.js';
import { type Connection, openConnection, setReadAhead } from './device.js';
import { HeldRequests } from './held-requests.js';
import { LogLimiter } from './log-limiter.js';
import type { FetchSpans, MissedRead, UnkeptOf } from './missed-read.js';
import { MissedReads } from './missed-reads.js';
import { Notifier } from './notifier.js';
import { resend, rootChanged, rootEntryChanged } from './protocol/notification.js';
import type { ServedLayer } from './served-layer.js';
import { WorkerPool } from './worker-pool.js';
import type { FromWorker, OperationFailure } from './worker-protocol.js';

export type { FetchSpans, Miss } from './missed-read.js';
export type { Connection } from './device.js';
export type { ServedLayer } from './served-layer.js';

export interface ServeOptions {
  /** Threads that answer the kernel; default: the number of processors, at least 2, at most 4. */
  workers?: number;
  fetch: FetchSpans;
  /** What `fetch` could not make present; default: nothing. */
  unkept?: UnkeptOf;
  /** What keeps a layer's bytes from coming, in words, for the log. */
  problem?: (layer: number) => string | undefined;
  /** Milliseconds until a read that waits for `fetch` fails with EIO; default 60 000. */
  fetchTimeout?: number;
  /** How far the kernel reads ahead; default 512. */
  readAheadKb?: number;
  log?: Logger;
}

export interface MountOptions extends ServeOptions {
  /** An existing directory. */
  mountPoint: string;
  /** No layer will have an extended attribute; see {@link Connection.agreement}. */
  noXattrs?: boolean;
}

export interface ResumeOptions extends ServeOptions {
  /** Ask the kernel again for the requests that were read and never answered, where it can. */
  resume?: boolean;
  /** Layers that are there before the first request is answered. */
  layers?: readonly ServedLayer[];
  /**
   * Numbers of layers that were there before and will be again, or not: whoever asks for one waits until it
   * is added or removed. Only where the kernel can be asked for requests again.
   */
  awaited?: readonly number[];
}

/** Counters since the session began. */
export interface FuseStats {
  /** Requests by the operation's name (`lookup`, `read`, …). */
  requests: Record<string, number>;
  /** Reads that had to wait for `fetch`. */
  misses: number;
  /** Reads among those that failed with EIO. */
  failedReads: number;
  /** Bytes of file contents handed to the kernel. */
  bytesRead: number;
}

const defaultFetchTimeout = 60_000;
/** Measured: what a large file in order wants; see native-notes.md. */
const defaultReadAheadKb = 512;

const writeDevice = promisify(write);

export class FuseSession {
  readonly #connection: Connection;
  readonly #log: Logger;
  readonly #limiter = new LogLimiter();
  readonly #notifier: Notifier;
  readonly #reads: MissedReads;
  readonly #held: HeldRequests;
  readonly #onExit = (): void => this.#abandon();
  #workers: WorkerPool | undefined;
  #ended: Promise<void> = Promise.resolve();
  #live = true;
  #unmountsAtExit = false;

  private constructor(connection: Connection, options: ResumeOptions) {
    this.#connection = connection;
    this.#log = options.log ?? silentLogger;
    const send = async (message: Buffer): Promise<void> => {
      await writeDevice(connection.device, message);
    };
    this.#notifier = new Notifier(send, this.#log);
    this.#held = new HeldRequests(send);
    this.#reads = new MissedReads({
      fetch: options.fetch,
      unkept: options.unkept,
      problem: options.problem,
      timeout: options.fetchTimeout ?? defaultFetchTimeout,
      // A worker that has started may miss something before the others have.
      cache: (number) =>
        this.#workers === undefined
          ? options.layers?.find((layer) => layer.number === number)
          : this.#workers.layer(number),
      reply: send,
      failed: (read, error) => this.#readFailed(read, error),
      log: this.#log,
    });
  }

  /**
   * Mounts and serves; needs root.
   * @throws SiphonError `permission` (not root), `unsupported` (no /dev/fuse, kernel too old),
   * `not-found`, `invalid`, `busy` for the mount point
   */
  static async mount(options: MountOptions): Promise<FuseSession> {
    const { mountPoint, noXattrs = false } = options;
    const connection = openConnection(mountPoint, { noXattrs });
    try {
      const session = await FuseSession.serve(connection, options);
      session.#unmountsAtExit = true;
      return session;
    } catch (error) {
      umount(mountPoint, MNT.DETACH);
      closeSync(connection.device);
      throw error;
    }
  }

  /**
   * Serves a connection that exists, perhaps from an earlier process; its mount stays when this process
   * exits. On failure the connection stays the caller's.
   */
  static async serve(connection: Connection, options: ResumeOptions): Promise<FuseSession> {
    const session = new FuseSession(connection, options);
    await session.#start(options);
    return session;
  }

  get mountPoint(): string {
    return this.#connection.mountPoint;
  }

  /** Whether the mount is gone, or about to go. */
  get isEnding(): boolean {
    return !this.#live;
  }

  /** Resolves when the mount is gone, by {@link unmount} or by somebody else's umount. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Makes `<mountPoint>/<number>` exist, at once. */
  addLayer(layer: ServedLayer): void {
    if (this.#pool().add(layer)) this.#resend();
    this.#notifier.send(rootChanged());
  }

  /**
   * Takes the layer away from look-ups at once; what somebody has open in it answers ESTALE where the
   * kernel has to ask. The workers close its files soon after.
   */
  removeLayer(number: number): void {
    const pool = this.#pool();
    if (pool.remove(number)) this.#resend();
    this.#notifier.send(rootEntryChanged(String(number)));
    this.#notifier.send(rootChanged());
    void pool.settle();
  }

  /** Where the layer's tree stands. */
  layerPath(number: number): string {
    return `${this.mountPoint}/${number}`;
  }

  stats(): FuseStats {
    const { requests, bytesRead } = sumCounters(this.#workers?.counters ?? []);
    return {
      requests,
      misses: this.#reads.count,
      failedReads: this.#reads.failures,
      bytesRead: bytesRead + this.#reads.bytesRead,
    };
  }

  /**
   * Takes the mount out of the tree. Whoever has the file system in use (an overlay on it, open files) still has it,
   * and {@link ended} resolves with the last of them. @throws SiphonError `permission`
   */
  leave(): void {
    if (this.#live) this.#detach(true);
  }

  /**
   * Unmounts and ends the connection: whatever still has the file system in use from elsewhere (an
   * overlay on it, another mount namespace, anything after a lazy unmount) gets errors from then on.
   * Does nothing where the mount is gone already.
   * @throws SiphonError `busy` where something uses the mount and `lazy` is not set; then it goes on
   */
  async unmount(options: { lazy?: boolean } = {}): Promise<void> {
    if (this.#live) {
      this.#live = false;
      this.#detach(options.lazy === true);
      // While the workers still run: what waits in the kernel for a lock gets it from them.
      await this.#notifier.close();
      await this.#reads.close();
      await this.#workers?.stop();
    }
    await this.#ended;
  }

  async #start(options: ResumeOptions): Promise<void> {
    this.#workers = await WorkerPool.start({
      connection: this.#connection,
      count: options.workers ?? Math.min(4, Math.max(2, availableParallelism())),
      layers: options.layers ?? [],
      awaited: options.awaited ?? [],
      time: Math.floor(Date.now() / 1000),
      receive: (message) => this.#receive(message),
      died: (error) => this.#workerDied(error),
    });
    this.#ended = this.#workers.ended.then(() => this.#finish());
    process.on('exit', this.#onExit);
    if (options.resume === true) this.#resend();
    await this.#readAhead(options.readAheadKb ?? defaultReadAheadKb);
  }

  async #readAhead(kibibytes: number): Promise<void> {
    try {
      await setReadAhead(this.mountPoint, kibibytes);
    } catch (error) {
      this.#log.debug({ error: errorMessage(error) }, 'the readahead stays as the kernel has it');
    }
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'miss') this.#reads.serve(message.read);
    else if (message.kind === 'held') this.#held.hold(message.request);
    else if (message.kind === 'interrupt') this.#reads.interrupt(message.uniqueKey);
    else if (message.kind === 'failure') this.#operationFailed(message.failure);
  }

  #detach(lazy: boolean): void {
    try {
      umount(this.mountPoint, lazy ? MNT.DETACH : 0);
    } catch (error) {
      const code = systemCode(error);
      if (code === 'EINVAL' || code === 'ENOENT') return; // somebody else has
      this.#live = true;
      throw unmountError(this.mountPoint, error);
    }
  }

  /** After the last worker has ended. */
  async #finish(): Promise<void> {
    this.#live = false;
    process.off('exit', this.#onExit);
    this.#held.clear();
    // A descriptor's number may be another file's as soon as it is closed.
    await this.#notifier.close();
    await this.#reads.close();
    closeSync(this.#connection.device);
  }

  /** The process exits without {@link unmount}: its threads would keep it from doing so. */
  #abandon(): void {
    try {
      if (this.#unmountsAtExit) this.#detach(true);
      this.#workers?.stopNow();
    } catch {
      // There is nobody left to tell.
    }
  }

  #resend(): void {
    if (!this.#connection.agreement.resend) return;
    this.#held.clear();
    this.#notifier.send(resend());
  }

  #workerDied(error: Error): void {
    this.#log.error({ err: error }, 'a FUSE worker thread died; another takes its place');
    this.#resend();
  }

  #operationFailed(failure: OperationFailure): void {
    const { operation, layer, ino, message, stack } = failure;
    if (!this.#limiter.allows(`${operation} ${layer} ${message}`)) return;
    this.#log.error({ operation, layer, ino, stack }, `a FUSE request failed: ${message}`);
  }

  #readFailed({ layer, ino }: MissedRead, error: unknown): void {
    const message = errorMessage(error);
    if (!this.#limiter.allows(`${layer} ${message}`)) return;
    const detail = error instanceof SiphonError ? { code: error.code } : { err: error };
    this.#log.error({ layer, ino, ...detail }, `a read failed: ${message}`);
  }

  #pool(): WorkerPool {
    if (this.#workers !== undefined && this.#live) return this.#workers;
    throw new SiphonError(
      'failed-precondition',
      `Cannot use the FUSE session on "${this.mountPoint}": it has ended`,
    );
  }
}

function unmountError(mountPoint: string, error: unknown): SiphonError {
  if (systemCode(error) === 'EBUSY') {
    return new SiphonError('busy', `Cannot unmount "${mountPoint}": it is in use`, {
      hint: 'Stop what uses it, or unmount lazily.',
      cause: error,
    });
  }
  return new SiphonError('permission', `Cannot unmount "${mountPoint}": ${errorMessage(error)}`, {
    cause: error,
  });
}

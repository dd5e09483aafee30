/**
 * What a container prints, on its way: every chunk goes to whoever looks on, and into its log where it has one. Who looks on may
 * hold the container back, which then waits in its own write(2); but only while its process lives. What comes
 * after that is no more than pipes hold, and a reader that stands still must not keep the end from being told.
 */

import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContainerHome } from './container-home.js';
import { ContainerLog, type OutputName } from './container-log.js';

/** Bytes that may wait to be written to the log. */
const MAX_UNLOGGED = 1024 * 1024;

/** How often somebody who is held up looks whether the container's process is still there, ms. */
const LOOK_INTERVAL = 200;

export interface Onlooker {
  hand(name: OutputName, data: Buffer): void;
  /** Resolves when more may come; `undefined` where it may at once. */
  behind(): Promise<void> | undefined;
}

export class ContainerOutput {
  readonly #home: ContainerHome;
  readonly #log: Logger;
  readonly #kept: ContainerLog | undefined;
  readonly #onlooker: Onlooker;
  #unlogged = 0;
  #isOver = false;
  #isLost = false;

  private constructor(
    home: ContainerHome,
    { log, kept, onlooker }: { log: Logger; kept: ContainerLog | undefined; onlooker: Onlooker },
  ) {
    this.#home = home;
    this.#log = log;
    this.#kept = kept;
    this.#onlooker = onlooker;
  }

  /** @param options.isKept whether it goes into the container's log */
  static async open(
    home: ContainerHome,
    { isKept, ...options }: { isKept: boolean; log: Logger; onlooker: Onlooker },
  ): Promise<ContainerOutput> {
    const kept = isKept ? await ContainerLog.open(home.logFile) : undefined;
    return new ContainerOutput(home, { ...options, kept });
  }

  /** @returns what resolves when more may come, and never throws; `undefined` where it may at once */
  take(name: OutputName, data: Buffer): Promise<void> | undefined {
    this.#onlooker.hand(name, data);
    const kept = this.#keep(name, data);
    const isFree = this.#unlogged <= MAX_UNLOGGED && this.#onlooker.behind() === undefined;
    return isFree ? undefined : this.#hold(kept);
  }

  /** What is written to it is taken. */
  sink(name: OutputName): Writable {
    return new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        const held = this.take(name, chunk);
        if (held === undefined) done();
        else void held.finally(done);
      },
    });
  }

  /** Resolves when all of it is in the log. */
  close(): Promise<void> {
    return this.#kept?.close() ?? Promise.resolve();
  }

  async #hold(kept: Promise<void>): Promise<void> {
    if (this.#unlogged > MAX_UNLOGGED) await kept;
    let behind = this.#onlooker.behind();
    while (behind !== undefined && !this.#isOver) {
      await earlier(behind, LOOK_INTERVAL);
      behind = this.#onlooker.behind();
      if (behind !== undefined) this.#isOver = !(await this.#home.bundle.isRunning());
    }
  }

  async #keep(name: OutputName, data: Buffer): Promise<void> {
    this.#unlogged += data.length;
    try {
      await this.#kept?.write(name, data);
    } catch (error) {
      if (!this.#isLost) {
        this.#log.error({ id: this.#home.id, error: errorMessage(error) }, 'output is not kept');
      }
      this.#isLost = true;
    } finally {
      this.#unlogged -= data.length;
    }
  }
}

/** Resolves when all that was written to `sinks` has been taken. */
export async function endOf(sinks: readonly Writable[]): Promise<void> {
  await Promise.all(
    sinks.map(
      (sink) =>
        new Promise<void>((done) => {
          if (sink.destroyed) done();
          sink.once('close', () => done());
          sink.end();
        }),
    ),
  );
}

/** Resolves when `work` does, after `ms` at the latest. */
async function earlier(work: Promise<void>, ms: number): Promise<void> {
  const stop = new AbortController();
  const late = sleep(ms, undefined, { signal: stop.signal }).catch(() => {});
  await Promise.race([work, late]);
  stop.abort();
}

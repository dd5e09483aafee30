/**
 * Images that stay open while their layers are asked for one after the other, and for some time after.
 * Then whatever still goes on for an image is ended, and only when that is over it is closed: closing
 * one cuts its connections.
 */

import { setMaxListeners } from 'node:events';
import type { Image } from '../content/image.js';

export interface SharedImage {
  readonly image: Image;
  /** Aborted when nobody has asked for the image for a while. */
  readonly ended: AbortSignal;
  /** Lets `work` go on beside the uses; it must end when `ended` is aborted. */
  background(work: Promise<void>): void;
}

interface Entry {
  opening: Promise<Image>;
  ended: AbortController;
  background: Set<Promise<void>>;
  users: number;
  timer?: NodeJS.Timeout;
}

export interface SharedImagesOptions {
  /** Called when an image has ended, before it is closed; with what {@link SharedImage.ended} was. */
  onEnd: (ended: AbortSignal) => Promise<void>;
  /** Milliseconds from the last use to the end. */
  idleTime?: number;
}

const defaultIdleTime = 60_000;
/** Images kept open though nobody uses them. */
const maxIdle = 64;

export class SharedImages implements AsyncDisposable {
  readonly #entries = new Map<string, Entry>();
  readonly #onEnd: (ended: AbortSignal) => Promise<void>;
  readonly #idleTime: number;

  constructor({ onEnd, idleTime = defaultIdleTime }: SharedImagesOptions) {
    this.#onEnd = onEnd;
    this.#idleTime = idleTime;
  }

  /** Gives `work` the image of `key`, which `open` opens where it is not open. @throws what either throws */
  async use<T>(
    key: string,
    open: (ended: AbortSignal) => Promise<Image>,
    work: (shared: SharedImage) => Promise<T>,
  ): Promise<T> {
    const entry = this.#entries.get(key) ?? this.#begin(key, open);
    entry.users += 1;
    clearTimeout(entry.timer);
    try {
      return await work({
        image: await entry.opening,
        ended: entry.ended.signal,
        background(extra) {
          const tracked = extra.finally(() => entry.background.delete(tracked));
          entry.background.add(tracked);
        },
      });
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#leave(key, entry);
    }
  }

  /** The next use opens the image anew. */
  forget(key: string): void {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    if (entry?.users === 0) this.#endLater(key, entry, 0);
  }

  /** Ends all of them; nothing may be in use. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#entries].map(([key, entry]) => this.#end(key, entry)));
  }

  #begin(key: string, open: (ended: AbortSignal) => Promise<Image>): Entry {
    const ended = new AbortController();
    // Every layer under way listens.
    setMaxListeners(0, ended.signal);
    const entry: Entry = { opening: open(ended.signal), ended, background: new Set(), users: 0 };
    this.#entries.set(key, entry);
    entry.opening.catch(() => this.#drop(key, entry));
    return entry;
  }

  #leave(key: string, entry: Entry): void {
    this.#endLater(key, entry, this.#entries.get(key) === entry ? this.#idleTime : 0);
    const idle = [...this.#entries].filter(([, { users }]) => users === 0);
    for (const [name, old] of idle.slice(0, -maxIdle)) this.#endLater(name, old, 0);
  }

  #endLater(key: string, entry: Entry, delay: number): void {
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => void this.#end(key, entry), delay).unref();
  }

  async #end(key: string, entry: Entry): Promise<void> {
    clearTimeout(entry.timer);
    this.#drop(key, entry);
    entry.ended.abort();
    await Promise.allSettled(entry.background);
    await this.#onEnd(entry.ended.signal);
    const image = await entry.opening.catch(() => undefined);
    await image?.close();
  }

  #drop(key: string, entry: Entry): void {
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
  }
}

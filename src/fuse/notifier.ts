import { errorMessage, systemCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';

/**
 * Sends notifications to the kernel one after the other, off the thread: the kernel may take a
 * directory's lock for them, which a look-up holds until a worker has answered it.
 */
export class Notifier {
  readonly #write: (message: Buffer) => Promise<void>;
  readonly #log: Logger;
  #last: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(write: (message: Buffer) => Promise<void>, log: Logger) {
    this.#write = write;
    this.#log = log;
  }

  /** Queues a notification. One that the kernel refuses is logged. */
  send(message: Buffer): void {
    if (!this.#closed) this.#last = this.#last.then(() => this.#send(message));
  }

  /** Takes no more; resolves when everything queued is with the kernel. */
  close(): Promise<void> {
    this.#closed = true;
    return this.#last;
  }

  async #send(message: Buffer): Promise<void> {
    try {
      await this.#write(message);
    } catch (error) {
      // ENOENT: the kernel has nothing cached that would have to go.
      if (systemCode(error) === 'ENOENT') return;
      this.#log.debug({ error: errorMessage(error) }, 'the kernel refuses a FUSE notification');
    }
  }
}

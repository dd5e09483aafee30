/**
 * A file that only who has the key can read: AES-256-GCM, under a nonce of its own each time it is written.
 *
 *     version (1) | nonce (12) | tag (16) | what is sealed
 */

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { writeFileAtomic } from './atomic-file.js';
import { systemCode } from './errors.js';

const CIPHER = 'aes-256-gcm';
const VERSION = Buffer.of(1);
const NONCE = 12;
const TAG = 16;

export class SealedFile {
  readonly #path: string;
  readonly #key: Buffer;

  /**
   * @param secret bytes that cannot be guessed, 32 or more
   * @param purpose makes the key another one than for other files
   */
  constructor(path: string, secret: Uint8Array, purpose: string) {
    this.#path = path;
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', purpose, 32));
  }

  /** @returns `undefined` where there is none, or none that was sealed with this key */
  async read(): Promise<Buffer | undefined> {
    try {
      return this.#open(await readFile(this.#path));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** @throws the system error; the file is what it was then */
  async write(bytes: Uint8Array): Promise<void> {
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv(CIPHER, this.#key, nonce).setAAD(VERSION);
    const sealed = Buffer.concat([cipher.update(bytes), cipher.final()]);
    await writeFileAtomic(this.#path, Buffer.concat([VERSION, nonce, cipher.getAuthTag(), sealed]));
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
  }

  #open(file: Buffer): Buffer | undefined {
    const [nonceAt, tagAt, start] = [
      VERSION.length,
      VERSION.length + NONCE,
      VERSION.length + NONCE + TAG,
    ];
    if (file.length < start || !file.subarray(0, nonceAt).equals(VERSION)) return undefined;
    const decipher = createDecipheriv(CIPHER, this.#key, file.subarray(nonceAt, tagAt))
      .setAAD(VERSION)
      .setAuthTag(file.subarray(tagAt, start));
    const opened = decipher.update(file.subarray(start));
    try {
      return Buffer.concat([opened, decipher.final()]);
    } catch {
      return undefined; // Another key's, or damaged.
    }
  }
}

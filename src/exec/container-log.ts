/**
 * A container's output on disk, in the form of Kubernetes' CRI, which keeps bytes as they are:
 *
 *     2023-11-14T22:13:20.000Z stdout F a whole line
 *     2023-11-14T22:13:20.000Z stderr P what was written without an end of line
 *
 * At {@link LIMIT} bytes the file becomes `log.1`, in the place of an earlier one, and another begins.
 */

import { type FileHandle, open, rename } from 'node:fs/promises';

export type OutputName = 'stdout' | 'stderr';

/** Bytes of one file; there are two at most. */
const LIMIT = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

export class ContainerLog {
  readonly #path: string;
  readonly #limit: number;
  #file: FileHandle;
  #size: number;
  readonly #waiting: Buffer[] = [];
  /** Will write what waits. */
  #batch: Promise<void> | undefined;
  #last: Promise<void> = Promise.resolve();

  private constructor(path: string, limit: number, file: FileHandle, size: number) {
    this.#path = path;
    this.#limit = limit;
    this.#file = file;
    this.#size = size;
  }

  /** Goes on with a file that is there. */
  static async open(path: string, limit = LIMIT): Promise<ContainerLog> {
    const file = await open(path, 'a', 0o600);
    return new ContainerLog(path, limit, file, (await file.stat()).size);
  }

  /** Resolves when the bytes are in the file. @throws the system error, disk full for instance */
  write(output: OutputName, chunk: Buffer): Promise<void> {
    this.#waiting.push(formatLog(output, chunk, new Date()));
    if (this.#batch === undefined) {
      const batch = this.#last.then(() => this.#writeWaiting());
      this.#batch = batch;
      this.#last = batch.catch(() => {});
    }
    return this.#batch;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#file.close();
  }

  /** What came while the batch before was written goes in as few writes as there are files for it. */
  async #writeWaiting(): Promise<void> {
    this.#batch = undefined;
    let together: Buffer[] = [];
    let size = this.#size;
    for (const bytes of this.#waiting.splice(0)) {
      if (size > 0 && size + bytes.length > this.#limit) {
        await this.#append(together);
        await this.#rotate();
        together = [];
        size = 0;
      }
      together.push(bytes);
      size += bytes.length;
    }
    await this.#append(together);
  }

  async #append(parts: readonly Buffer[]): Promise<void> {
    if (parts.length === 0) return;
    const bytes = Buffer.concat(parts);
    await this.#file.appendFile(bytes);
    this.#size += bytes.length;
  }

  async #rotate(): Promise<void> {
    await rename(this.#path, earlierLog(this.#path));
    const next = await open(this.#path, 'a', 0o600);
    await this.#file.close();
    this.#file = next;
    this.#size = 0;
  }
}

/** Where the output before that of the file `path` is, if there is any. */
export function earlierLog(path: string): string {
  return `${path}.1`;
}

/** One record for each line of `chunk`. As text of one byte a letter, since lines are cut fastest by V8. */
export function formatLog(output: OutputName, chunk: Buffer, time: Date): Buffer {
  const head = `${time.toISOString()} ${output}`;
  const text = chunk.toString('latin1');
  const end = text.lastIndexOf('\n') + 1;
  const whole = end === 0 ? '' : `\n${text.slice(0, end - 1)}`.replaceAll('\n', `\n${head} F `);
  const rest = end === text.length ? '' : `\n${head} P ${text.slice(end)}`;
  return Buffer.from(`${whole}${rest}\n`.slice(1), 'latin1');
}

export interface LogRecord {
  time: string;
  output: OutputName;
  /** What was written, with its end of line where it had one. */
  data: Buffer;
}

/** The record in one line of the file, without its end; `undefined` where it is none. */
export function parseLogLine(line: Buffer): LogRecord | undefined {
  const match = /^(\S+) (stdout|stderr) ([PF]) /.exec(line.toString('latin1', 0, 64));
  if (match === null) return undefined;
  const [head, time = '', output, tag] = match;
  const bytes = line.subarray(head.length);
  const data = tag === 'F' ? Buffer.concat([bytes, Buffer.of(NEWLINE)]) : bytes;
  return { time, output: output === 'stdout' ? 'stdout' : 'stderr', data };
}

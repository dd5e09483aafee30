/** Reads what {@link ContainerLog} writes, also while it does. */

import { type FileHandle, open, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../common/errors.js';
import { type LogRecord, earlierLog, parseLogLine } from './container-log.js';

const FOLLOW_INTERVAL = 100; // ms
const CHUNK = 64 * 1024;
const NEWLINE = 0x0a;

export interface ReadLogOptions {
  /** Only so many lines from the end; default all. */
  tail?: number;
  /** Goes on until this says that nothing more will come. */
  follow?: () => Promise<boolean>;
  signal: AbortSignal;
}

/** The records of the log at `path`, oldest first. */
export async function* readLog(path: string, options: ReadLogOptions): AsyncGenerator<LogRecord> {
  const { tail, follow, signal } = options;
  const earlier = await LogReader.open(earlierLog(path));
  const records = earlier === undefined ? [] : await earlier.readAll();
  let reader = await LogReader.open(path);
  if (reader !== undefined) records.push(...(await reader.readAll()));
  yield* tail === undefined ? records : lastLines(records, tail);
  while (follow !== undefined && !signal.aborted) {
    const goesOn = await follow();
    if (reader !== undefined) yield* await reader.readAll();
    if (reader === undefined || (await reader.isReplaced())) {
      await reader?.close();
      reader = await LogReader.open(path);
      if (reader !== undefined) yield* await reader.readAll();
    }
    if (!goesOn) break;
    await sleep(FOLLOW_INTERVAL, undefined, { signal }).catch(() => {});
  }
  await Promise.all([earlier?.close(), reader?.close()]);
}

/** A line may be of several records: all that follow the end of the line before. */
function lastLines(records: readonly LogRecord[], count: number): LogRecord[] {
  let lines = 0;
  let start = records.length;
  while (start > 0) {
    const before = records[start - 1];
    const endsLine = before?.data.at(-1) === NEWLINE || start === records.length;
    if (endsLine && ++lines > count) break;
    start -= 1;
  }
  return records.slice(start);
}

class LogReader {
  readonly #file: FileHandle;
  readonly #path: string;
  #pending: Buffer = Buffer.alloc(0);

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  static async open(path: string): Promise<LogReader | undefined> {
    try {
      return new LogReader(await open(path), path);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** What has come since the last call. */
  async readAll(): Promise<LogRecord[]> {
    const records: LogRecord[] = [];
    const chunk = Buffer.alloc(CHUNK);
    for (;;) {
      const { bytesRead } = await this.#file.read(chunk, 0, CHUNK);
      if (bytesRead === 0) return records;
      this.#pending = Buffer.concat([this.#pending, chunk.subarray(0, bytesRead)]);
      this.#takeLines(records);
    }
  }

  /** Whether its name stands for another file by now. */
  async isReplaced(): Promise<boolean> {
    const there = await stat(this.#path).catch(() => undefined);
    return there !== undefined && there.ino !== (await this.#file.stat()).ino;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #takeLines(records: LogRecord[]): void {
    let start = 0;
    for (let end = this.#pending.indexOf(NEWLINE); end >= 0;) {
      const record = parseLogLine(this.#pending.subarray(start, end));
      if (record !== undefined) records.push(record);
      start = end + 1;
      end = this.#pending.indexOf(NEWLINE, start);
    }
    this.#pending = this.#pending.subarray(start);
  }
}

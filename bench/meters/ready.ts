/** The time until a program says that it is ready. */

import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

export interface Ready {
  /** From just before the program was started until the line was here. */
  ms: number;
  /** The line, without its end. */
  line: string;
  /** Runs on. */
  child: ChildProcess;
}

/** Of what was printed, for errors. */
const KEPT_OUTPUT = 4000;

/**
 * Starts a program and waits for a line on either of its streams.
 * @param command program and arguments
 * @throws with what it printed, where it ends before that or takes longer than `timeout` ms; it is killed then
 */
export function startUntilReady(
  command: readonly string[],
  ready: RegExp,
  timeout: number,
): Promise<Ready> {
  const [program = '', ...args] = command;
  const begin = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    let output = '';
    const fail = (why: string, cause?: Error): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      const said = output.slice(-KEPT_OUTPUT);
      const text = `Cannot wait for ${String(ready)} of "${command.join(' ')}": ${why}`;
      reject(new Error(said === '' ? text : `${text}; it printed: ${said}`, { cause }));
    };
    const timer = setTimeout(() => fail(`not there after ${timeout} ms`), timeout);
    for (const stream of [child.stdout, child.stderr]) {
      eachLine(stream, (line) => {
        output = `${output}${line}\n`.slice(-2 * KEPT_OUTPUT);
        if (!ready.test(line)) return;
        clearTimeout(timer);
        resolve({ ms: performance.now() - begin, line, child });
      });
    }
    child.once('error', (cause) => fail(cause.message, cause));
    child.once('close', (code, signal) => fail(`it ended with ${signal ?? code ?? 'nothing'}`));
  });
}

/** The last one may lack its end. Goes on reading, so that nobody waits for a full pipe. */
function eachLine(stream: Readable, take: (line: string) => void): void {
  let begun = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = `${begun}${text}`.split('\n');
    begun = lines.pop() ?? '';
    for (const line of lines) take(line.replace(/\r$/, ''));
  });
  stream.on('end', () => begun !== '' && take(begun));
}

/** A program on a terminal of its own, as a person would sit at it. */

import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReadStream } from 'node:tty';
import { openPty, setWindowSize } from '#src/ffi/pty.js';
import { siphonProgram } from '../../bench/programs/siphon-program.js';
import type { Sandbox } from './sandbox.js';

const PATIENCE = 30_000; // ms

export interface Terminal {
  type(text: string): void;
  /**
   * Waits until `text` was shown, for `patience` ms; what came before it counts no more.
   * @returns all up to its end
   */
  see(text: string | RegExp, patience?: number): Promise<string>;
  resize(columns: number, rows: number): void;
  /** Takes nothing of what is printed, until {@link goOn}. */
  standStill(): void;
  goOn(): void;
  /** Is closed, with whoever sits at it. */
  close(): void;
  signal(name: NodeJS.Signals): void;
  /** The exit code, 128+n where signal n ended it. */
  readonly ended: Promise<number>;
}

/** Runs `siphon` on the sandbox's root. */
export function startSiphonInTerminal(sandbox: Sandbox, ...args: string[]): Terminal {
  const { master, slave } = openPty();
  setWindowSize(slave, 77, 33);
  const command = [siphonProgram, '--root', sandbox.root, ...args];
  const child = spawn(process.execPath, command, { stdio: [slave, slave, slave] });
  const screen = new ReadStream(master);
  let shown = '';
  screen.on('data', (chunk: Buffer) => (shown += chunk.toString()));
  screen.on('error', () => screen.destroy()); // nobody has it open any more
  const ended = new Promise<number>((done, fail) => {
    child.once('error', fail);
    child.once('exit', (code, signal) => {
      closeSync(slave);
      done(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
  return {
    type: (text) => void screen.write(text),
    async see(text, patience = PATIENCE) {
      const deadline = Date.now() + patience;
      for (;;) {
        const found = typeof text === 'string' ? shown.indexOf(text) : shown.search(text);
        const length = typeof text === 'string' ? text.length : (text.exec(shown)?.[0].length ?? 0);
        if (found >= 0) {
          const seen = shown.slice(0, found + length);
          shown = shown.slice(found + length);
          return seen;
        }
        if (Date.now() > deadline) throw new Error(`not shown: ${String(text)}; but ${shown}`);
        await sleep(20);
      }
    },
    resize(columns, rows) {
      setWindowSize(slave, columns, rows);
      child.kill('SIGWINCH'); // as the kernel does for those whose controlling terminal it is
    },
    standStill: () => void screen.pause(),
    goOn: () => void screen.resume(),
    close: () => void screen.destroy(),
    signal: (name) => void child.kill(name),
    ended,
  };
}

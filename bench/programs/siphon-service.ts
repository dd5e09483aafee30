/** `siphon serve` as its own process, in a folder of the caller's, as containerd would find it. */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { processIsAlive } from '#src/common/process.js';
import { endProgram } from './end-program.js';
import { siphonProgram } from './siphon-program.js';

const startTimeout = 30_000; // ms
const stopTimeout = 60_000; // ms

export interface ServicePlace {
  /** For socket and configuration. */
  directory: string;
  /** siphon's root. */
  root: string;
  /** The words of a program that becomes the one it is given, as nsenter(1) in a network namespace does. */
  enter?: readonly string[];
}

export interface SiphonService {
  readonly address: string;
  readonly pid: number;
  /** What it logged so far: all of it that came before an answer, for whoever has the answer. */
  log(): string;
  /** Ends it with a signal, and waits for its server too. @returns its exit code, `null` after a signal killed it */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Its layers are lazy however small they are, and it logs everything, unless `args` say otherwise. */
export async function startSiphonService(
  { directory, root, enter = [] }: ServicePlace,
  ...args: string[]
): Promise<SiphonService> {
  const config = join(directory, 'siphon.toml');
  await writeFile(config, 'smallest_lazy_layer = 0\n');
  const address = join(directory, 'siphon.sock');
  const logPath = join(directory, `siphon-${randomUUID()}.log`);
  const logFile = await open(logPath, 'a');
  const [program, ...words] = [...enter, process.execPath];
  const child = spawn(
    program,
    [
      ...words,
      siphonProgram,
      '--root',
      root,
      '--log-level',
      'debug',
      'serve',
      '--address',
      address,
      '--config',
      config,
      ...args,
    ],
    { stdio: ['ignore', 'inherit', logFile.fd] },
  );
  await logFile.close();
  // Not through a pipe, which this process may read later than an answer.
  const log = (): string => readFileSync(logPath, 'utf8');
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    // Of a keeper that is killed, the server dies a moment later, and has the root until then.
    const servers = child.exitCode === null ? await childrenOf(child.pid) : [];
    await endProgram(child, { signal, patience: stopTimeout });
    while (servers.some(processIsAlive)) await delay(10);
    return child.exitCode;
  };
  const deadline = Date.now() + startTimeout;
  // It accepts a moment before it is done with starting, and says so itself.
  while (!(await accepts(address)) || !log().includes('"serving"')) {
    if (child.exitCode === null && Date.now() < deadline) await delay(30);
    else {
      await stop('SIGKILL');
      throw new Error(`siphon serve does not start: ${log()}`);
    }
  }
  return { address, pid: child.pid ?? 0, log, stop };
}

async function childrenOf(pid = 0): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

function accepts(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => (socket.destroy(), resolve(true)));
    socket.once('error', () => resolve(false));
  });
}

/**
 * The streams of a detached container: its output goes to the log and to whoever is attached, what those
 * write goes to its input. With a terminal we play that terminal to the runtime, which plays one to the
 * container: every byte and every size passes both.
 */

import { EventEmitter } from 'node:events';
import { closeSync } from 'node:fs';
import { PassThrough, type Writable } from 'node:stream';
import { ReadStream } from 'node:tty';
import { type Logger } from '../common/log.js';
import { takesMore } from '../common/patient-stream.js';
import { openPty, setWindowSize } from '../ffi/pty.js';
import type { Frame } from './attach-protocol.js';
import { AttachServer } from './attach-server.js';
import type { ContainerHome } from './container-home.js';
import { ContainerOutput, endOf } from './container-output.js';
import type { ContainerRecord } from './container-record.js';
import type { RunContainerOptions } from './run-options.js';

/** What {@link runContainer} takes of it. */
type Streams = Required<Pick<RunContainerOptions, 'stdio' | 'signalSource'>>;

export interface ContainerConsole extends Streams {
  /** Resolves when somebody is attached. */
  attached: Promise<void>;
  /** To be called when the process has ended, or never began; resolves when all it printed is on its way. */
  close(): Promise<void>;
  /** Tells whoever looks on that the container is over, last of all. */
  leave(exitCode: number): void;
}

/** What those who are attached ask for. */
interface Inputs {
  /** @returns what resolves when more may come; `undefined` where it may at once */
  write: (data: Buffer) => Promise<void> | undefined;
  end: () => void;
  resize: (columns: number, rows: number) => void;
}

interface Wiring extends Inputs {
  stdio: Streams['stdio'];
  /** Resolves when all output has been taken. */
  finish: () => Promise<void>;
}

const OUR_SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const;

export async function openConsole(
  home: ContainerHome,
  record: ContainerRecord,
  log: Logger,
): Promise<ContainerConsole> {
  const signalSource = new EventEmitter();
  // Nothing is printed before the process runs, which is later.
  const output = await ContainerOutput.open(home, {
    isKept: true,
    log,
    onlooker: {
      hand: (name, data) => server.broadcast({ kind: name, data }),
      behind: () => server.behind(),
    },
  });
  const wiring =
    record.overrides.terminal === true ? wireTerminal(record, output) : wirePipes(record, output);
  const server = await AttachServer.listen(home.path, (frame) =>
    apply(frame, wiring, signalSource),
  );
  const release = relaySignals(signalSource);
  const close = async (): Promise<void> => {
    release();
    await wiring.finish();
    await Promise.all([server.close(), output.close()]);
  };
  let closed: Promise<void> | undefined;
  return {
    stdio: wiring.stdio,
    signalSource,
    attached: server.attached,
    close: () => (closed ??= close()),
    leave: (exitCode) => server.leave(exitCode),
  };
}

function apply(frame: Frame, inputs: Inputs, signals: EventEmitter): Promise<void> | undefined {
  switch (frame.kind) {
    case 'input':
      return inputs.write(frame.data);
    case 'input-end':
      inputs.end();
      break;
    case 'resize':
      inputs.resize(frame.columns, frame.rows);
      signals.emit('SIGWINCH', 'SIGWINCH');
      break;
    case 'signal':
      signals.emit(frame.name, frame.name);
      break;
    default: // the other end's to get
  }
  return undefined;
}

function wirePipes({ interactive }: ContainerRecord, output: ContainerOutput): Wiring {
  const input = new PassThrough();
  const sinks = { stdout: output.sink('stdout'), stderr: output.sink('stderr') };
  return {
    stdio: { stdin: interactive ? input : 'ignore', ...sinks },
    write: (data) => (interactive && input.writable ? writeTo(input, data) : undefined),
    end: () => void input.end(),
    resize: () => {},
    finish: () => endOf(Object.values(sinks)),
  };
}

function wireTerminal({ terminalSize = [0, 0] }: ContainerRecord, output: ContainerOutput): Wiring {
  const { master, slave } = openPty();
  setWindowSize(slave, ...terminalSize);
  const screen = new ReadStream(master);
  let last = Promise.resolve();
  screen.on('data', (chunk: Buffer) => {
    const held = output.take('stdout', chunk);
    if (held === undefined) return;
    screen.pause();
    last = held.then(() => void screen.resume());
  });
  const closed = new Promise<void>((done) => {
    // A terminal that nobody has open any more reads as EIO.
    screen.on('error', () => screen.destroy());
    screen.once('close', () => done());
  });
  return {
    stdio: { stdin: slave, stdout: slave, stderr: slave },
    write: (data) => writeTo(screen, data),
    end: () => {}, // a terminal has Ctrl-D for that
    resize: (columns, rows) => setWindowSize(slave, columns, rows),
    async finish() {
      closeSync(slave);
      await closed;
      await last;
    },
  };
}

function writeTo(target: Writable, data: Buffer): Promise<void> | undefined {
  return target.write(data) ? undefined : takesMore(target);
}

/** Signals that are sent to this process go to the container. @returns what ends that */
function relaySignals(target: EventEmitter): () => void {
  const relay = (name: NodeJS.Signals): void => void target.emit(name, name);
  for (const name of OUR_SIGNALS) process.on(name, relay);
  return () => {
    for (const name of OUR_SIGNALS) process.off(name, relay);
  };
}

/**
 * The streams of a detached container: its output goes to the log and to whoever is attached, what those
 * write goes to its input. With a terminal we play that terminal to the runtime, which plays one to the
 * container: every byte and every size passes both.
 */

import { EventEmitter } from 'node:events';
import { closeSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { ReadStream } from 'node:tty';
import { type Logger } from '../common/log.js';
import { errorMessage } from '../common/errors.js';
import { openPty, setWindowSize } from '../ffi/pty.js';
import type { Frame } from './attach-protocol.js';
import { AttachServer } from './attach-server.js';
import type { ContainerHome } from './container-home.js';
import { ContainerLog, type OutputName } from './container-log.js';
import type { ContainerRecord } from './container-record.js';
import type { RunContainerOptions } from './run-options.js';

/** What {@link runContainer} takes of it. */
type Streams = Required<Pick<RunContainerOptions, 'stdio' | 'signalSource'>>;

export interface ContainerConsole extends Streams {
  /** Resolves when somebody is attached. */
  attached: Promise<void>;
  /** To be called when the process has ended and nothing more comes. */
  close(exitCode: number): Promise<void>;
}

/** What those who are attached ask for. */
interface Inputs {
  write: (data: Buffer) => void;
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
  const output = await ContainerLog.open(home.logFile);
  const take = async (name: OutputName, data: Buffer): Promise<void> => {
    server.broadcast({ kind: name, data });
    await output.write(name, data).catch((error: unknown) => {
      log.error({ id: home.id, error: errorMessage(error) }, 'output is not kept');
    });
  };
  const wiring =
    record.overrides.terminal === true ? wireTerminal(record, take) : wirePipes(record, take);
  // Nothing is printed before the process runs, which is later.
  const server = await AttachServer.listen(home.path, (frame) => {
    apply(frame, wiring, signalSource);
  });
  const release = relaySignals(signalSource);
  return {
    stdio: wiring.stdio,
    signalSource,
    attached: server.attached,
    async close(exitCode) {
      release();
      await wiring.finish();
      await server.close(exitCode);
      await output.close();
    },
  };
}

function apply(frame: Frame, inputs: Inputs, signals: EventEmitter): void {
  switch (frame.kind) {
    case 'input':
      inputs.write(frame.data);
      break;
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
}

type Take = (name: OutputName, data: Buffer) => Promise<void>;

function wirePipes({ interactive }: ContainerRecord, take: Take): Wiring {
  const input = new PassThrough();
  const sinks = { stdout: new PassThrough(), stderr: new PassThrough() };
  const taken = Promise.all([
    drain(sinks.stdout, 'stdout', take),
    drain(sinks.stderr, 'stderr', take),
  ]);
  return {
    stdio: { stdin: interactive ? input : 'ignore', ...sinks },
    write: (data) => void (interactive && input.writable && input.write(data)),
    end: () => void input.end(),
    resize: () => {},
    async finish() {
      for (const sink of Object.values(sinks)) sink.end();
      await taken;
    },
  };
}

async function drain(sink: PassThrough, name: OutputName, take: Take): Promise<void> {
  for await (const chunk of sink) await take(name, chunk as Buffer); // of a stream without encoding
}

function wireTerminal({ terminalSize = [0, 0] }: ContainerRecord, take: Take): Wiring {
  const { master, slave } = openPty();
  setWindowSize(slave, ...terminalSize);
  const screen = new ReadStream(master);
  let last = Promise.resolve();
  screen.on('data', (chunk: Buffer) => {
    screen.pause();
    last = take('stdout', chunk).then(() => void screen.resume());
  });
  const closed = new Promise<void>((done) => {
    // A terminal that nobody has open any more reads as EIO.
    screen.on('error', () => screen.destroy());
    screen.once('close', () => done());
  });
  return {
    stdio: { stdin: slave, stdout: slave, stderr: slave },
    write: (data) => void screen.write(data),
    end: () => {}, // a terminal has Ctrl-D for that
    resize: (columns, rows) => setWindowSize(slave, columns, rows),
    async finish() {
      closeSync(slave);
      await closed;
      await last;
    },
  };
}

/** Signals that are sent to this process go to the container. @returns what ends that */
function relaySignals(target: EventEmitter): () => void {
  const relay = (name: NodeJS.Signals): void => void target.emit(name, name);
  for (const name of OUR_SIGNALS) process.on(name, relay);
  return () => {
    for (const name of OUR_SIGNALS) process.off(name, relay);
  };
}

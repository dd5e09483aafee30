/**
 * The command line: `siphon <command>`. Exit codes: 0; 1 failed; 2 wrong usage. Of `run` and `exec` the program's
 * own, and 125 failed, 126 and 127 no program that can be run.
 */

import { constants } from 'node:os';
import { resolve } from 'node:path';
import { isatty } from 'node:tty';
import { Command, CommanderError } from 'commander';
import { benchCommand } from './commands/bench.js';
import { doctorCommand } from './commands/doctor.js';
import { attachCommand } from './commands/attach.js';
import {
  killCommand,
  pauseCommand,
  resumeCommand,
  rmCommand,
  stopCommand,
  waitCommand,
} from './commands/control.js';
import { execCommand } from './commands/exec.js';
import { exportCommand } from './commands/export.js';
import { gcCommand } from './commands/gc.js';
import { imagesCommand } from './commands/images.js';
import { importCommand } from './commands/import.js';
import { indexCommand } from './commands/layer-index.js';
import { mountCommand } from './commands/mount.js';
import { logsCommand } from './commands/logs.js';
import { psCommand } from './commands/ps.js';
import { pullCommand } from './commands/pull.js';
import { pushCommand } from './commands/push.js';
import { rmiCommand } from './commands/rmi.js';
import { createCommand, runCommand } from './commands/run.js';
import { serveCommand } from './commands/serve.js';
import { serveLayersCommand } from './commands/serve-layers.js';
import { keepContainerCommand, startCommand } from './commands/start.js';
import { statusCommand } from './commands/status.js';
import { tagCommand } from './commands/tag.js';
import { umountCommand } from './commands/umount.js';
import { unpackCommand } from './commands/unpack.js';
import { errorMessage, systemCode } from '../common/errors.js';
import { reportFailureToParent } from './background.js';
import { endByHangup } from './end-by-hangup.js';
import { describeFailure, exitCodeOf, exitFailed, exitUsage } from './exit-status.js';
import { addGlobalOptions } from './settings.js';
import { enterDirectory } from './under-keeper.js';
import { packageVersion } from './version.js';

/** Runs the command that `argv` (as in `process.argv`) asks for, and sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  await enterDirectory();
  makePathsAbsolute();
  for (const stream of [process.stdout, process.stderr]) watchOutput(stream);
  endWithTerminals();
  const program = createProgram();
  let name: string | undefined;
  program.hook('preAction', (_, command) => void (name = command.name()));
  try {
    await program.parseAsync(argv);
  } catch (error) {
    process.exitCode = reportFailure(error, name);
  }
}

/**
 * Output that cannot be written ends the command: as SIGPIPE would where nobody reads it any more, which Node
 * ignores, else with an error. Not where somebody else listens, who knows better.
 */
function watchOutput(stream: NodeJS.WriteStream): void {
  stream.on('error', (error) => {
    if (stream.listenerCount('error') > 1) return;
    if (systemCode(error) === 'EPIPE') process.exit(128 + constants.signals.SIGPIPE);
    if (stream === process.stdout) {
      process.stderr.write(`siphon: Cannot write to standard output: ${errorMessage(error)}\n`);
    }
    process.exit(process.exitCode || exitFailed); // of what could not be told, the code at least
  });
}

/** Where a terminal of ours is gone at the end, the hangup ends us. */
function endWithTerminals(): void {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  process.once('exit', () => {
    if (terminals.every((fd) => isatty(fd))) return;
    endByHangup();
  });
}

/** Paths of the environment that are read again when the process stands in another folder. */
function makePathsAbsolute(): void {
  for (const name of ['DOCKER_CONFIG', 'REGISTRY_AUTH_FILE']) {
    const path = process.env[name];
    if (path !== undefined && path !== '') process.env[name] = resolve(path);
  }
}

function createProgram(): Command {
  const program = addGlobalOptions(new Command('siphon'))
    .description('Start containers before their image is here.')
    .version(packageVersion())
    .enablePositionalOptions()
    .showHelpAfterError('(siphon --help shows what there is)');
  for (const command of [
    serveCommand,
    mountCommand,
    umountCommand,
    pullCommand,
    runCommand,
    psCommand,
    logsCommand,
    execCommand,
    attachCommand,
    killCommand,
    stopCommand,
    waitCommand,
    pauseCommand,
    resumeCommand,
    rmCommand,
    createCommand,
    startCommand,
    unpackCommand,
    imagesCommand,
    tagCommand,
    rmiCommand,
    gcCommand,
    importCommand,
    exportCommand,
    pushCommand,
    indexCommand,
    statusCommand,
    doctorCommand,
    benchCommand,
  ]) {
    program.addCommand(command());
  }
  program.addCommand(keepContainerCommand(), { hidden: true });
  program.addCommand(serveLayersCommand(), { hidden: true });
  applyToAll(program, (command) => command.exitOverride());
  for (const command of program.commands) applyToAll(command, addGlobalOptions);
  return program;
}

function applyToAll(command: Command, change: (command: Command) => unknown): void {
  change(command);
  for (const child of command.commands) applyToAll(child, change);
}

function reportFailure(error: unknown, command: string | undefined): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitUsage;
  if (!reportFailureToParent(error)) process.stderr.write(describeFailure(error));
  return exitCodeOf(error, command);
}

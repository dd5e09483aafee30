/** The command line that runc and crun share, for one container. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import type { ContainerDirectory } from './container-directory.js';

/** How long kill and delete may take: they talk to the kernel only. */
const COMMAND_TIMEOUT = 30_000;

const run = promisify(execFile);

export class RuntimeCommands {
  readonly #path: string;
  readonly #id: string;
  readonly #directory: ContainerDirectory;

  constructor(path: string, id: string, directory: ContainerDirectory) {
    this.#path = path;
    this.#id = id;
    this.#directory = directory;
  }

  /**
   * Creates and starts the container; the child lives as long as it, with its exit code. The child
   * has a session of its own, so that a terminal's signals reach the container once, by way of us.
   * @param fds standard input, output and error
   */
  run(fds: readonly number[]): ChildProcess {
    const { path, pidFile, logFile } = this.#directory;
    const options = ['--log', logFile, '--log-format', 'json'];
    const args = this.#args(['run', '--bundle', path, '--pid-file', pidFile, this.#id], options);
    return spawn(this.#path, args, { stdio: [...fds], detached: true });
  }

  /** @throws an error with the runtime's complaint, also where the container is not running */
  async kill(signal: NodeJS.Signals): Promise<void> {
    await this.#do(['kill', this.#id, signal]);
  }

  /** Kills the container where it still runs, and removes what the runtime keeps of it. */
  async delete(): Promise<void> {
    await this.#do(['delete', '--force', this.#id]);
  }

  async #do(args: readonly string[]): Promise<void> {
    await run(this.#path, this.#args(args), { timeout: COMMAND_TIMEOUT, killSignal: 'SIGKILL' });
  }

  #args(command: readonly string[], options: readonly string[] = []): string[] {
    return ['--root', this.#directory.stateRoot, ...options, ...command];
  }
}

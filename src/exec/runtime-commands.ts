/** The command line that runc and crun share, for one container. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { field, fieldsOf } from '../common/own-json.js';
import type { ContainerDirectory } from './container-directory.js';

/** How long kill and delete may take: they talk to the kernel only. */
const COMMAND_TIMEOUT = 30_000;

const run = promisify(execFile);

export interface ExecFiles {
  processFile: string;
  pidFile: string;
  logFile: string;
}

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
   * @param options.keep leave the container, with its cgroup, to {@link delete} when it has ended
   */
  run(fds: readonly number[], { keep = false }: { keep?: boolean } = {}): ChildProcess {
    const { path, pidFile, logFile } = this.#directory;
    const bundle = ['--bundle', path, '--pid-file', pidFile];
    const command = ['run', ...(keep ? ['--keep'] : []), ...bundle, this.#id];
    const args = this.#args(command, ['--log', logFile, '--log-format', 'json']);
    return spawn(this.#path, args, { stdio: [...fds], detached: true });
  }

  /**
   * Starts one more process in the container; the child lives as long as it, with its exit code.
   * @param files of this process alone: its description (config.json's `process`), pid and log
   * @param options.detach the child ends when the process has begun
   */
  exec(
    files: ExecFiles,
    fds: readonly number[],
    { detach = false }: { detach?: boolean } = {},
  ): ChildProcess {
    const { processFile, pidFile, logFile } = files;
    const how = [...(detach ? ['--detach'] : []), '--process', processFile, '--pid-file', pidFile];
    const command = ['exec', ...how, this.#id];
    const args = this.#args(command, ['--log', logFile, '--log-format', 'json']);
    return spawn(this.#path, args, { stdio: [...fds], detached: true });
  }

  /** crun knows no `--keep`. */
  get canKeep(): boolean {
    return basename(this.#path) === 'runc';
  }

  async pause(): Promise<void> {
    await this.#do(['pause', this.#id]);
  }

  async resume(): Promise<void> {
    await this.#do(['resume', this.#id]);
  }

  /** `created`, `running`, `paused` or `stopped`, by the OCI runtime-spec. */
  async status(): Promise<string> {
    const state: unknown = JSON.parse(await this.#do(['state', this.#id]));
    return field(fieldsOf(state, 'the state of a container'), 'status', 'string');
  }

  /** @throws an error with the runtime's complaint, also where the container is not running */
  async kill(signal: string): Promise<void> {
    await this.#do(['kill', this.#id, signal]);
  }

  /** Kills the container where it still runs, and removes what the runtime keeps of it. */
  async delete(): Promise<void> {
    await this.#do(['delete', '--force', this.#id]);
  }

  async #do(args: readonly string[]): Promise<string> {
    // From within the state root: by a path the runtime would make it anew where the container was just removed.
    const cwd = this.#directory.stateRoot;
    const options = { cwd, timeout: COMMAND_TIMEOUT, killSignal: 'SIGKILL' } as const;
    return (await run(this.#path, ['--root', '.', ...args], options)).stdout;
  }

  #args(command: readonly string[], options: readonly string[] = []): string[] {
    return ['--root', this.#directory.stateRoot, ...options, ...command];
  }
}

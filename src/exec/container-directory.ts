/**
 * The folder of a container that runs: its bundle (config.json), the runtime's state, log and pid
 * file. The runtime is given a state root of the container's own, so that removing the folder removes
 * every trace.
 */

import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import type { RuntimeSpec } from './runtime-spec.js';
import { specText } from './spec-text.js';

export class ContainerDirectory {
  readonly path: string;
  /** The runtime's `--root`. */
  readonly stateRoot: string;
  /** Where the runtime writes what went wrong, JSON lines. */
  readonly logFile: string;
  /** Written by the runtime as soon as the process exists. */
  readonly pidFile: string;
  readonly #id: string;

  private constructor(path: string, id: string) {
    this.path = path;
    this.stateRoot = join(path, 'state');
    this.logFile = join(path, 'runtime.log');
    this.pidFile = join(path, 'pid');
    this.#id = id;
  }

  /** A folder that is there, or may be. */
  static at(path: string, id: string): ContainerDirectory {
    return new ContainerDirectory(resolve(path), id);
  }

  /** @throws SiphonError `already-exists` where the folder is there already */
  static async create(path: string, id: string, spec: RuntimeSpec): Promise<ContainerDirectory> {
    const directory = ContainerDirectory.at(path, id);
    await mkdir(dirname(directory.path), { recursive: true, mode: 0o711 });
    try {
      await mkdir(directory.path, { mode: 0o700 });
    } catch (error) {
      throw systemCode(error) === 'EEXIST' ? taken(id, directory.path) : error;
    }
    try {
      await mkdir(directory.stateRoot, { mode: 0o700 });
      await writeFile(join(directory.path, 'config.json'), specText(spec), { mode: 0o600 });
      return directory;
    } catch (error) {
      await directory.remove();
      throw error;
    }
  }

  /** Whether the runtime still holds state of the container. */
  async hasState(): Promise<boolean> {
    return exists(join(this.stateRoot, this.#id));
  }

  /** Whether the container's process ever existed. */
  async hasStarted(): Promise<boolean> {
    return exists(this.pidFile);
  }

  /** The process id of the container's first process, as the host sees it, once it exists. */
  async processId(): Promise<number | undefined> {
    const text = await textIfThere(this.pidFile);
    return text === undefined || text === '' ? undefined : Number(text);
  }

  /** Whether the container's first process does not run the container's program yet, but is runc's, which leaves at a signal. */
  async isRuntimesOwn(): Promise<boolean> {
    const name = await readFile(`/proc/${await this.processId()}/comm`, 'utf8').catch(() => '');
    return name === 'runc:[2:INIT]\n';
  }

  /** Whether the container's first process is there. */
  async isRunning(): Promise<boolean> {
    const pid = await this.processId();
    return pid !== undefined && (await exists(`/proc/${pid}`));
  }

  /** What is run. @throws where there is no bundle, or a damaged one */
  async spec(): Promise<RuntimeSpec> {
    // Written by this very class.
    return JSON.parse(await readFile(join(this.path, 'config.json'), 'utf8')) as RuntimeSpec;
  }

  /** What the runtime logged; empty where it logged nothing. */
  async log(): Promise<string> {
    return (await textIfThere(this.logFile)) ?? '';
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

async function textIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

function taken(id: string, path: string): SiphonError {
  return new SiphonError(
    'already-exists',
    `Cannot create container "${id}": "${path}" is there already, expected an unused name`,
    { hint: 'Choose another name, or remove that container first.' },
  );
}

/**
 * One folder for each container, `<root>/run/<id>`, from its creation to its removal; its name reserves
 * the id. The process that keeps the container holds the lock on `lock` for as long as it lives, which
 * the kernel lets go however it ends: who has the lock may change or remove what is there.
 *
 *     container.json   what was asked for        bundle/        config.json and the runtime's state
 *     state.json       what became of it         rootfs, …      the root filesystem, src/layers' matter
 *     log, log.1       output, kept              attach         socket, while a detached one runs
 */

import { mkdir, open, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SiphonError, systemCode } from '../common/errors.js';
import { tryLockFile } from '../ffi/libc.js';
import { ContainerDirectory } from './container-directory.js';
import { checkContainerId } from './container-id.js';
import type { ContainerRecord, ContainerState } from './container-record.js';

const CLAIM_INTERVAL = 20; // ms

export interface Claim {
  release(): Promise<void>;
}

export class ContainerHome {
  readonly id: string;
  readonly path: string;

  private constructor(root: string, id: string) {
    this.id = id;
    this.path = join(homesOf(root), id);
  }

  /** @throws SiphonError `already-exists`; `usage` where the id cannot be one */
  static async create(root: string, record: ContainerRecord): Promise<ContainerHome> {
    checkContainerId(record.id);
    const home = new ContainerHome(root, record.id);
    await mkdir(homesOf(root), { recursive: true, mode: 0o700 });
    try {
      await mkdir(home.path, { mode: 0o700 });
    } catch (error) {
      throw systemCode(error) === 'EEXIST' ? taken(record.id) : error;
    }
    await home.#write('container.json', record);
    await home.writeState({ status: 'created' });
    return home;
  }

  /** @throws SiphonError `not-found` */
  static async open(root: string, id: string): Promise<ContainerHome> {
    if ((await ContainerHome.list(root)).some((home) => home.id === id)) {
      return new ContainerHome(root, id);
    }
    throw new SiphonError(
      'not-found',
      `Cannot find container "${id}": there is none of this name, expected one that \`siphon ps --all\` shows`,
    );
  }

  static async list(root: string): Promise<ContainerHome[]> {
    try {
      const entries = await readdir(homesOf(root), { withFileTypes: true });
      const folders = entries.filter((entry) => entry.isDirectory());
      return folders.map(({ name }) => new ContainerHome(root, name));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  get bundle(): ContainerDirectory {
    return ContainerDirectory.at(join(this.path, 'bundle'), this.id);
  }

  get logFile(): string {
    return join(this.path, 'log');
  }

  /** `undefined` where the container's creation was cut short. */
  record(): Promise<ContainerRecord | undefined> {
    return this.#read<ContainerRecord>('container.json');
  }

  /** @throws SiphonError `corrupt` where the container's creation was cut short */
  async requireRecord(): Promise<ContainerRecord> {
    const record = await this.record();
    if (record !== undefined) return record;
    throw new SiphonError(
      'corrupt',
      `Cannot use container "${this.id}": its description is missing, expected container.json in "${this.path}"`,
      { hint: `siphon rm ${this.id} takes it away.` },
    );
  }

  async state(): Promise<ContainerState> {
    return (await this.#read<ContainerState>('state.json')) ?? { status: 'created' };
  }

  writeState(state: ContainerState): Promise<void> {
    return this.#write('state.json', state);
  }

  /**
   * Takes the lock, waiting for it for `patience` ms.
   * @returns `undefined` where another process has it, or the container is gone
   */
  async claim(patience = 0): Promise<Claim | undefined> {
    const deadline = Date.now() + patience;
    for (;;) {
      const claim = await this.#tryClaim();
      if (claim !== 'taken') return claim;
      if (Date.now() >= deadline) return undefined;
      await sleep(CLAIM_INTERVAL);
    }
  }

  /**
   * Removes the folder, which the caller has claimed; nothing may be mounted in it. The description goes last but
   * for the lock: whoever finds no lock makes one, and would take a container that is going for one that is there.
   */
  async remove(): Promise<void> {
    const names = await readdir(this.path).catch(() => []);
    const first = names.filter((name) => name !== 'container.json' && name !== 'lock');
    for (const name of [...first, 'container.json']) {
      await rm(join(this.path, name), { recursive: true, force: true });
    }
    await rm(this.path, { recursive: true, force: true, maxRetries: 3 });
  }

  async #tryClaim(): Promise<Claim | 'taken' | undefined> {
    const file = await open(join(this.path, 'lock'), 'a', 0o600).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (file === undefined) return undefined;
    const isLocked = tryLockFile(file.fd);
    if (isLocked && (await file.stat()).nlink > 0) return { release: () => file.close() };
    await file.close();
    return isLocked ? undefined : 'taken';
  }

  /** Whole or not at all for whoever reads; a power cut ends the container anyway. */
  async #write(name: string, value: object): Promise<void> {
    const path = join(this.path, name);
    await writeFile(`${path}.new`, JSON.stringify(value), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  async #read<T>(name: string): Promise<T | undefined> {
    try {
      return JSON.parse(await readFile(join(this.path, name), 'utf8')) as T; // by #write
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
}

function homesOf(root: string): string {
  return join(root, 'run');
}

function taken(id: string): SiphonError {
  return new SiphonError(
    'already-exists',
    `Cannot create container "${id}": there is one of this name, expected an unused name`,
    { hint: `Choose another name, or remove it first with: siphon rm ${id}` },
  );
}

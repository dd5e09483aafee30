/**
 * The sample tree in every form there is: plain files, plain files below overlayfs, and what siphon
 * mounts of their archive. Each stands read-only in a folder of its own.
 */

import { createReadStream } from 'node:fs';
import { chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MNT, MS, mount, umount } from '#src/ffi/libc.js';
import { unpackLayer } from '#src/unpack/unpack-layer.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import type { Contestant } from './check.js';
import { writeSample } from './sample.js';

export interface Contestants extends AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly roots: Record<Contestant, string>;
  /** What each contestant is compared with. */
  readonly references: Record<Contestant, string>;
}

export async function openContestants(): Promise<Contestants> {
  const sandbox = await openSandbox();
  try {
    return await prepare(sandbox);
  } catch (error) {
    await sandbox[Symbol.asyncDispose]();
    throw error;
  }
}

async function prepare(sandbox: Sandbox): Promise<Contestants> {
  await chmod(sandbox.directory, 0o755); // some checks are made by nobody
  const tar = await packSample(sandbox);
  const plain = join(sandbox.directory, 'unpacked');
  await unpackLayer({ source: createReadStream(tar), target: plain, form: 'merged', fresh: true });

  const overlay = await mountByCommand(sandbox, tar, 'overlay');
  const libfuse = await mountByCommand(sandbox, tar, 'libfuse', '--driver', 'libfuse');
  const kernel = await bind(sandbox, await layerOfMount(sandbox), 'kernel');
  const folder = await bind(sandbox, plain, 'plain');
  const plainOverlay = await overlayOf(sandbox, plain);
  return {
    sandbox,
    roots: { kernel, overlay, libfuse },
    references: { kernel: folder, overlay: plainOverlay, libfuse: folder },
    async [Symbol.asyncDispose]() {
      for (const path of [kernel, folder, plainOverlay]) umount(path, MNT.DETACH);
      for (const path of [overlay, libfuse]) await sandbox.siphon('umount', path);
      await sandbox[Symbol.asyncDispose]();
    },
  };
}

async function packSample(sandbox: Sandbox): Promise<string> {
  const folder = await sandbox.folder('sample');
  await writeSample(folder);
  const tar = join(sandbox.directory, 'sample.tar');
  const flags = ['--format=pax', '--sparse', '--xattrs', '--xattrs-include=*', '--sort=name'];
  await must('tar', ...flags, '-C', folder, '-cf', tar, '.');
  return tar;
}

async function mountByCommand(
  sandbox: Sandbox,
  tar: string,
  name: string,
  ...options: string[]
): Promise<string> {
  const target = await sandbox.folder(name);
  const outcome = await sandbox.siphon('mount', ...options, tar, target);
  if (outcome.code !== 0) throw new Error(`siphon mount failed: ${outcome.stderr}`);
  return target;
}

/** The folder of the layer in the FUSE mount below the overlay of `siphon mount`. */
async function layerOfMount(sandbox: Sandbox): Promise<string> {
  const ours = (path: string): boolean => path.startsWith(`${sandbox.root}/mounts/`);
  for (const path of (await sandbox.mounts()).filter(ours)) {
    const [layer] = await readdir(path);
    if (layer !== undefined) return join(path, layer);
  }
  throw new Error('there is no layer');
}

async function bind(sandbox: Sandbox, source: string, name: string): Promise<string> {
  const target = await sandbox.folder(name);
  mount({ source, target, type: '', flags: MS.BIND });
  mount({ source: 'none', target, type: '', flags: MS.BIND | MS.REMOUNT | MS.RDONLY });
  return target;
}

async function overlayOf(sandbox: Sandbox, lower: string): Promise<string> {
  const empty = await sandbox.folder('empty');
  const target = await sandbox.folder('plain-overlay');
  mount({ source: 'overlay', target, type: 'overlay', data: `lowerdir=${lower}:${empty}` });
  return target;
}

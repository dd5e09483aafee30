/**
 * One image served by this process through the kernel driver, each layer in a folder below one FUSE
 * mount of the session's own, ready to be merged by overlayfs.
 */

import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import { UndoStack } from '../common/undo-stack.js';
import type { Image } from '../content/image.js';
import { makeImpliedDirectories } from './implied-directories.js';
import { type Decision, decideWhenServable } from './layer-policy.js';
import { LayerServer } from './layer-server.js';
import { type ImageOptions, openImageAt, prepareLayers } from './serve-image.js';
import { openWorkplace } from './workplace.js';

export interface ImageSessionOptions extends ImageOptions {
  /** Folder of this session's own, made and removed by it. */
  directory: string;
}

export interface ImageSession {
  readonly image: Image;
  /** The folders to be merged, topmost first, as paths below `base`. */
  readonly stack: { base: string; lowerdirs: string[] };
  /** What became of each layer, topmost first. */
  readonly decisions: readonly Decision[];
  /** To be called once the overlay stands: another process could go on with both then. */
  allowSuccession(this: void): void;
  /** Unmounts and closes; the overlay on top must be gone. */
  close(): Promise<void>;
}

/** @throws SiphonError for whatever keeps the image from being served; nothing is left mounted then */
export async function openImageSession(options: ImageSessionOptions): Promise<ImageSession> {
  const undo = new UndoStack();
  try {
    return await open(options, undo);
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
}

async function makeOwnFolder(directory: string): Promise<void> {
  await mkdir(dirname(directory), { recursive: true, mode: 0o700 });
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    throw new SiphonError(
      'already-exists',
      `Cannot use "${directory}": something of that name runs or was left behind, expected a new name`,
      { cause: error },
    );
  }
}

async function open(options: ImageSessionOptions, undo: UndoStack): Promise<ImageSession> {
  const { root, directory, keeper, access, log } = options;
  await makeOwnFolder(directory);
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const workplace = await openWorkplace({ root, undo, keeper, access, log });
  const used = await openImageAt(workplace, options, undo);
  const mountPoint = join(directory, 'fuse');
  const server = await LayerServer.start({ mountPoint, open: workplace.open, keeper, log });
  undo.defer(() => server[Symbol.asyncDispose]());
  const records = await prepareLayers(workplace, used, options);
  for (const record of records) server.serve(record);
  // Overlay refuses a folder twice; the upper one says all that a lower one of the same layer could.
  const numbers = [...new Set(records.map(({ number }) => number))];
  const lowerdirs = numbers.map((number) => `fuse/${number}`);
  const indexes = numbers.map((number) => workplace.layers.indexPath(number));
  if (await makeImpliedDirectories(indexes, join(directory, 'implied'))) {
    lowerdirs.unshift('implied');
  }
  // Overlay wants two folders at least, and only it hides whiteouts.
  const padding = lowerdirs.length === 0 ? ['empty', 'emptier'] : ['empty'];
  for (const name of padding) await mkdir(join(directory, name), { mode: 0o755 });
  lowerdirs.push(...padding);
  return {
    image: used.image,
    stack: { base: directory, lowerdirs },
    decisions: await Promise.all(
      records.map(async ({ blobDigest }) =>
        decideWhenServable({ keptHere: await workplace.content.has(blobDigest) }),
      ),
    ),
    allowSuccession: server.allowSuccession,
    close: () => undo[Symbol.asyncDispose](),
  };
}

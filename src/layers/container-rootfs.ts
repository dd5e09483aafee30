/**
 * The root filesystem of a container of siphon's own: the image, with what the container writes on top.
 * One decision for the whole image, made here: it is served lazily where it can be; a format or a kernel
 * that does not allow that has it unpacked instead, whole, before anything runs.
 *
 *     <folder>/image/      the image's FUSE mount, while the container runs
 *     <folder>/rootfs      the overlay, likewise
 *     <folder>/upper, work what the container wrote
 *     <folder>/unpacked    the root filesystem that could not be served
 */

import { chmod, chown, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, errorMessage } from '../common/errors.js';
import { fileExists } from '../common/file-exists.js';
import { UndoStack } from '../common/undo-stack.js';
import type { Image } from '../content/image.js';
import { endLayerHosts } from './end-layer-hosts.js';
import { openImageSession } from './image-session.js';
import type { StartLayerHost } from './layer-host.js';
import { decideWhenNotServable } from './layer-policy.js';
import { clearLayerMounts } from './layer-mounts.js';
import { clearStaleMount } from './mount-table.js';
import { mountOverlay } from './overlay-mount.js';
import type { ImageOptions } from './serve-image.js';

export interface ContainerRootfs {
  readonly image: Pick<Image, 'name' | 'config' | 'descriptor'>;
  /** Writable. */
  readonly path: string;
  readonly decision: RootfsDecision;
  /** Resolves when nobody serves its files any more; absent where nobody needs to. */
  readonly unserved?: Promise<unknown>;
  /** Unmounts; what was written stays. */
  close(): Promise<void>;
}

export type RootfsDecision =
  /** How many layers have an index, and how many are served from a blob that came whole. */
  { way: 'lazy'; indexed: number; streamed: number } | { way: 'unpacked'; reason: string };

export interface RootfsOptions extends ImageOptions {
  /** The container's own, which is there. */
  folder: string;
  startHost: StartLayerHost;
}

/** @throws SiphonError for whatever is in the way; nothing is left mounted then */
export async function openContainerRootfs(options: RootfsOptions): Promise<ContainerRootfs> {
  if (await fileExists(unpackedIn(options.folder))) return unpackedBefore(options);
  try {
    return await serve(options);
  } catch (error) {
    if (decideWhenNotServable(errorCode(error)) === undefined) throw error;
    return unpack(options, errorMessage(error));
  }
}

/** Unmounts what a killed process left, and removes what it served. */
export async function clearContainerRootfs(folder: string): Promise<void> {
  const served = join(folder, 'image');
  await clearStaleMount(join(folder, 'rootfs'));
  await endLayerHosts(served);
  await clearLayerMounts(served);
  await rm(served, { recursive: true, force: true });
}

async function serve(options: RootfsOptions): Promise<ContainerRootfs> {
  const { folder } = options;
  const undo = new UndoStack();
  try {
    const path = join(folder, 'rootfs');
    const place = { directory: join(folder, 'image'), target: path, untilUnmounted: true };
    const session = await openImageSession({ ...options, ...place });
    undo.defer(() => session.close());
    const writable = { upperdir: join(folder, 'upper'), workdir: join(folder, 'work') };
    for (const one of [path, writable.workdir]) await mkdir(one, { recursive: true, mode: 0o755 });
    await makeUpper(join(session.stack.base, session.stack.lowerdirs[0] ?? ''), writable.upperdir);
    mountOverlay({ ...session.stack, writable, target: path });
    undo.defer(() => clearStaleMount(path));
    const streamed = session.decisions.filter(({ way }) => way === 'streamed').length;
    return {
      image: session.image,
      path,
      decision: { way: 'lazy', indexed: session.decisions.length - streamed, streamed },
      unserved: session.host.ended,
      close: () => undo[Symbol.asyncDispose](),
    };
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
}

/** The overlay shows its root with the attributes of the upper folder, so they are the image's. */
async function makeUpper(lower: string, upper: string): Promise<void> {
  if (await fileExists(upper)) return;
  const { uid, gid, mode } = await stat(lower);
  await mkdir(`${upper}.new`, { recursive: true });
  await chown(`${upper}.new`, uid, gid);
  await chmod(`${upper}.new`, mode & 0o7777);
  await rename(`${upper}.new`, upper);
}

async function unpack(options: RootfsOptions, reason: string): Promise<ContainerRootfs> {
  const path = unpackedIn(options.folder);
  const partial = `${path}.new`;
  await rm(partial, { recursive: true, force: true });
  const { unpackImage } = await import('./unpack-image.js');
  const { image } = await unpackImage({
    ...options,
    target: partial,
    insteadOfServing: reason,
  });
  await rename(partial, path);
  return unpacked(image, path, reason);
}

async function unpackedBefore(options: RootfsOptions): Promise<ContainerRootfs> {
  const { openStores } = await import('./workplace.js');
  const { openImageAt } = await import('./serve-image.js');
  const undo = new UndoStack();
  try {
    const stores = await openStores({ ...options, undo });
    const { image } = await openImageAt(stores, { ...options, prepares: false }, undo);
    return unpacked(image, unpackedIn(options.folder), 'it is there from before');
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

function unpacked(image: ContainerRootfs['image'], path: string, reason: string): ContainerRootfs {
  return { image, path, decision: { way: 'unpacked', reason }, close: () => Promise.resolve() };
}

function unpackedIn(folder: string): string {
  return join(folder, 'unpacked');
}

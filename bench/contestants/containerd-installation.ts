/** A containerd with one snapshotter, as several contestants have it: they differ in what they pull with. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type Containerd, startContainerd } from '../programs/containerd.js';
import { endProgram } from '../programs/end-program.js';
import { listMounts } from '#src/common/mount-info.js';
import type { Installation, Place } from '../harness/contestant.js';
import type { PublishedImage } from '../harness/published-image.js';

export interface ContainerdSetup {
  /** As containerd knows it. */
  snapshotter: string;
  /** A snapshotter that is not containerd's own. */
  service?: SnapshotterService;
  pull(reference: string, containerd: Containerd): Promise<unknown>;
  objections(image: PublishedImage, containerd: Containerd): Promise<string[]>;
}

export interface SnapshotterService {
  /** Its socket. */
  address: string;
  close(): Promise<unknown>;
}

const START_TIMEOUT = 30_000;

/** Closing it ends the snapshotter, too; so does a containerd that does not start. */
export async function openContainerd(place: Place, setup: ContainerdSetup): Promise<Installation> {
  const { snapshotter, service } = setup;
  const containerd = await startContainerd({
    snapshotters: service === undefined ? {} : { [snapshotter]: service.address },
    within: place.folder,
    enter: place.enter,
  }).catch(async (error: unknown) => {
    await service?.close();
    throw error;
  });
  return {
    pull: async (reference) => void (await setup.pull(reference, containerd)),
    runCommand(reference, { id, command = [] }) {
      const run = ['run', '--rm', '--snapshotter', snapshotter, reference, id, ...command];
      return [...place.enter, 'ctr', ...targetOf(containerd), ...run];
    },
    async kill(id) {
      await containerd.ctr(['tasks', 'kill', '--all', '--signal', 'SIGKILL', id]);
    },
    objections: (image) => setup.objections(image, containerd),
    async [Symbol.asyncDispose]() {
      await containerd.close();
      await service?.close();
    },
  };
}

/** The words by which containerd's clients are told whom to talk to. */
export function targetOf({ address, namespace }: Containerd): string[] {
  return ['--address', address, '--namespace', namespace];
}

/**
 * Starts a snapshotter and waits until its socket is there.
 * @param command program and arguments, which name the socket
 */
export async function startSnapshotter(
  address: string,
  command: readonly string[],
): Promise<SnapshotterService> {
  const [program = '', ...words] = command;
  const child = spawn(program, words, { stdio: 'ignore' });
  const close = (): Promise<void> => endProgram(child);
  for (const deadline = Date.now() + START_TIMEOUT; !existsSync(address); await delay(20)) {
    if (child.exitCode === null && Date.now() < deadline) continue;
    await close();
    throw new Error(`Cannot start "${command.join(' ')}": it does not listen`);
  }
  return { address, close };
}

/** The image's layers that containerd has, or has not, in its content store. */
export async function storedLayers(
  image: PublishedImage,
  { ctr }: Containerd,
): Promise<{ stored: string[]; missing: string[] }> {
  const { stdout } = await ctr(['content', 'ls', '--quiet']);
  const here = new Set(stdout.split('\n'));
  const digests = image.layers.map(({ digest }) => digest);
  return {
    stored: digests.filter((digest) => here.has(digest)),
    missing: digests.filter((digest) => !here.has(digest)),
  };
}

/** What speaks against that every layer is mounted through FUSE, and none was unpacked by containerd. */
export async function notLazy(
  image: PublishedImage,
  containerd: Containerd,
  place: Place,
): Promise<string[]> {
  const { stored } = await storedLayers(image, containerd);
  const fuse = (await listMounts()).filter(
    ({ mountPoint, type }) => type.startsWith('fuse') && mountPoint.startsWith(`${place.folder}/`),
  );
  const missing = image.layers.length - fuse.length;
  return [
    ...stored.map((digest) => `layer ${digest} was unpacked by containerd`),
    ...(missing > 0 ? [`${missing} layers are not mounted through FUSE`] : []),
  ];
}

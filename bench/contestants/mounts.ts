/** Those who show a layer's files: unpacked, or through FUSE. */

import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { packageVersion } from '#src/cli/version.js';
import { listMounts } from '#src/common/mount-info.js';
import { CLOSING_TIMEOUT, execute, executeCommand } from '../programs/execute.js';
import { unmountBelow } from '../programs/remove-place.js';
import { siphonProgram } from '../programs/siphon-program.js';
import type { Found, Place } from '../harness/contestant.js';
import type { ProgramFinder } from '../harness/program-finder.js';

export interface MountContestant {
  name: string;
  title: string;
  find(programs: ProgramFinder): Promise<Found>;
  /**
   * @param layer path of a `.tar.gz`
   * @returns a folder with the layer's files; closing it leaves no mount
   */
  open(layer: string, place: Place, programs: ProgramFinder): Promise<OpenMount>;
}

export interface OpenMount extends AsyncDisposable {
  path: string;
}

/** What all others are compared with. */
const folder: MountContestant = {
  name: 'folder',
  title: 'unpacked folder',
  find: async (programs) => ({ versions: { tar: await programs.version('tar') } }),
  async open(layer, place) {
    const path = join(place.folder, 'tree');
    await mkdir(path);
    await execute('tar', ['-C', path, '--numeric-owner', '-xpzf', layer]);
    return { path, [Symbol.asyncDispose]: () => Promise.resolve() };
  },
};

export const MOUNT_CONTESTANTS: readonly MountContestant[] = [
  folder,
  siphonMount('kernel', 'siphon mount'),
  siphonMount('libfuse', 'siphon mount, fuse-native'),
  archive('archivemount', (layer, path) => [layer, path, '-o', 'readonly']),
  archive('ratarmount', (layer, path) => ['--index-file', ':memory:', layer, path]),
];

function siphonMount(driver: 'kernel' | 'libfuse', title: string): MountContestant {
  return {
    name: `siphon-${driver}`,
    title,
    async find() {
      if (driver === 'libfuse' && !(await canUse('fuse-native')))
        return { skipped: 'needs the npm package fuse-native, libfuse2 and fusermount' };
      return { versions: { siphon: packageVersion() } };
    },
    async open(layer, place) {
      const path = await mountPoint(place);
      const siphon = [siphonProgram, '--root', join(place.folder, 'root')];
      const mount = ['mount', '--driver', driver, layer, path];
      const command = [...place.enter, process.execPath, ...siphon, ...mount];
      await executeCommand(command, { signal: place.signal });
      const close = async (): Promise<void> => {
        const words = [...siphon, 'umount', path];
        await execute(process.execPath, words, { timeout: CLOSING_TIMEOUT });
      };
      return { path, [Symbol.asyncDispose]: close };
    },
  };
}

/** A program that mounts archives, and serves them in the background until they are unmounted. */
function archive(
  name: string,
  options: (layer: string, path: string) => string[],
): MountContestant {
  return {
    name,
    title: name,
    async find(programs) {
      if (programs.find(name) === undefined) return { skipped: `needs ${name}` };
      return { versions: { [name]: await programs.version(name) } };
    },
    async open(layer, place, programs) {
      const path = await mountPoint(place);
      const command = [...place.enter, programs.require(name), ...options(layer, path)];
      await executeCommand(command, { signal: place.signal });
      if (!(await listMounts()).some((entry) => entry.mountPoint === path))
        throw new Error(`Cannot mount "${layer}" by ${name}: nothing is mounted`);
      // Whoever serves it ends when it is unmounted.
      return { path, [Symbol.asyncDispose]: () => unmountBelow(place.folder) };
    },
  };
}

async function mountPoint(place: Place): Promise<string> {
  const path = join(place.folder, 'mount');
  await mkdir(path);
  return path;
}

function canUse(module: string): Promise<boolean> {
  return import(module).then(
    () => access('/dev/fuse').then(() => true),
    () => false,
  );
}

/** Those who write an image out: as a root file system, or as the layers' snapshots of one. */

import { join } from 'node:path';
import { packageVersion } from '#src/cli/version.js';
import {
  type CommandContestant,
  type LayoutImage,
  type OpenCommand,
  readyCommand,
} from '../harness/command-contestant.js';
import type { Place } from '../harness/contestant.js';
import { manifestDigest } from '../images/layer-blobs.js';
import { startContainerd } from '../programs/containerd.js';
import { execute } from '../programs/execute.js';
import { siphonProgram } from '../programs/siphon-program.js';
import { targetOf } from './containerd-installation.js';

export const UNPACKERS: readonly CommandContestant[] = [
  {
    name: 'containerd',
    title: 'ctr snapshots unpack',
    async find(programs) {
      const missing = programs.missing('containerd', 'ctr');
      if (missing.length > 0) return { skipped: `needs ${missing.join(', ')}` };
      return { versions: { containerd: await programs.version('containerd') } };
    },
    open: openContainerd,
  },
  {
    name: 'umoci',
    title: 'umoci raw unpack',
    async find(programs) {
      if (programs.find('umoci') === undefined) return { skipped: 'needs umoci' };
      return { versions: { umoci: await programs.version('umoci') } };
    },
    open(image, place) {
      const words = ['raw', 'unpack', '--image', `${image.layout}:latest`];
      return withRootfs(image, place, (rootfs) => ['umoci', ...words, rootfs]);
    },
  },
  {
    name: 'siphon',
    title: 'siphon unpack',
    find: () => Promise.resolve({ versions: { siphon: packageVersion() } }),
    open(image, place) {
      const siphon = [process.execPath, siphonProgram, '--root', join(place.folder, 'root')];
      const words = ['unpack', `oci:${image.layout}:latest`];
      return withRootfs(image, place, (rootfs) => [...siphon, ...words, rootfs]);
    },
  },
];

/** Its service runs, and has the image in its content store. */
async function openContainerd(image: LayoutImage, place: Place): Promise<OpenCommand> {
  const { layout, layers } = image;
  const archive = join(place.folder, 'image.tar');
  await execute('tar', ['-C', layout, '-cf', archive, 'oci-layout', 'index.json', 'blobs']);
  const containerd = await startContainerd({ within: place.folder, enter: place.enter });
  await containerd.ctr(['images', 'import', '--no-unpack', archive]);
  const unpack = ['snapshots', 'unpack', await manifestDigest(layout)];
  return {
    command: ['ctr', ...targetOf(containerd), ...unpack],
    async objections() {
      const { stdout } = await containerd.ctr(['snapshots', 'ls']);
      const made = stdout.split('\n').filter((line) => line.trimEnd().endsWith('Committed')).length;
      return made === layers.length ? [] : [`it made ${made} snapshots of ${layers.length} layers`];
    },
    [Symbol.asyncDispose]: () => containerd.close(),
  };
}

/** As many entries as the first one to unpack the image made. */
const entries = new Map<string, number>();

function withRootfs(
  { layout }: LayoutImage,
  { folder }: Place,
  command: (rootfs: string) => string[],
): Promise<OpenCommand> {
  const rootfs = join(folder, 'rootfs');
  return readyCommand(command(rootfs), async () => {
    const list = await execute('find', [rootfs, '-printf', 'x']);
    const expected = entries.get(layout) ?? list.length;
    entries.set(layout, expected);
    return list.length === expected ? [] : [`it made ${list.length} entries, expected ${expected}`];
  });
}

/** Those who write an image out as a root file system. */

import { join } from 'node:path';
import { packageVersion } from '#src/cli/version.js';
import type { CommandContestant, LayoutImage } from '../harness/command-contestant.js';
import type { Place } from '../harness/contestant.js';
import { execute } from '../programs/execute.js';
import { siphonProgram } from '../programs/siphon-program.js';

export const UNPACKERS: readonly CommandContestant[] = [
  {
    name: 'umoci',
    title: 'umoci raw unpack',
    async find(programs) {
      if (programs.find('umoci') === undefined) return { skipped: 'needs umoci' };
      return { versions: { umoci: await programs.version('umoci') } };
    },
    command: ({ layout }, { folder }) => [
      'umoci',
      'raw',
      'unpack',
      '--image',
      `${layout}:latest`,
      join(folder, 'rootfs'),
    ],
    objections,
  },
  {
    name: 'siphon',
    title: 'siphon unpack',
    find: () => Promise.resolve({ versions: { siphon: packageVersion() } }),
    command: ({ layout }, { folder }) => [
      process.execPath,
      siphonProgram,
      '--root',
      join(folder, 'root'),
      'unpack',
      `oci:${layout}:latest`,
      join(folder, 'rootfs'),
    ],
    objections,
  },
];

/** As many entries as the first one to unpack the image made. */
const entries = new Map<string, number>();

async function objections({ layout }: LayoutImage, { folder }: Place): Promise<string[]> {
  const list = await execute('find', [join(folder, 'rootfs'), '-printf', 'x']);
  const expected = entries.get(layout) ?? list.length;
  entries.set(layout, expected);
  return list.length === expected ? [] : [`it made ${list.length} entries, expected ${expected}`];
}

/** Those who read a whole image to know where everything lies in it, beside one who merely inflates it. */

import { join } from 'node:path';
import { packageVersion } from '#src/cli/version.js';
import { type CommandContestant, readyCommand } from '../harness/command-contestant.js';
import { siphonProgram } from '../programs/siphon-program.js';

export const INDEX_BUILDERS: readonly CommandContestant[] = [
  {
    name: 'gzip',
    title: 'gzip -dc',
    find: async (programs) => ({ versions: { gzip: await programs.version('gzip') } }),
    open({ layers }) {
      const script = 'for blob; do gzip -dc <"$blob" >/dev/null; done';
      return readyCommand(['sh', '-ec', script, 'sh', ...layers.map(({ path }) => path)]);
    },
  },
  {
    name: 'siphon',
    title: 'siphon index build',
    find: () => Promise.resolve({ versions: { siphon: packageVersion() } }),
    open({ layout }, { folder }) {
      const siphon = [process.execPath, siphonProgram, '--root', join(folder, 'root')];
      return readyCommand([...siphon, 'index', 'build', `oci:${layout}:latest`]);
    },
  },
];

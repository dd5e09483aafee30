/** siphon by itself, without containerd: `siphon pull` and `siphon run`, with the indexes beside the image. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { StartContestant } from '../harness/contestant.js';
import { CLOSING_TIMEOUT, type ExecuteOptions, executeCommand } from '../programs/execute.js';
import { siphonProgram } from '../programs/siphon-program.js';
import { WITH_INDEXES, siphonVersion } from './siphon.js';

export const siphonRun: StartContestant = {
  name: 'siphon-run',
  title: 'siphon run, indexed',
  async find(programs) {
    if (programs.find('runc') === undefined) return { skipped: 'needs runc' };
    return { versions: { siphon: siphonVersion(), runc: await programs.version('runc') } };
  },
  ...WITH_INDEXES,
  open(place) {
    const siphon = [
      ...place.enter,
      process.execPath,
      siphonProgram,
      '--root',
      join(place.folder, 'root'),
      '--plain-http',
    ];
    const run = (words: readonly string[], options?: ExecuteOptions): Promise<string> =>
      executeCommand([...siphon, ...words], options);
    return Promise.resolve({
      pull: async (reference) => void (await run(['pull', reference])),
      runCommand(reference, { id, command = [] }) {
        // As containerd runs an image, its words are the whole command.
        const [entrypoint, ...words] = command;
        const entry = entrypoint === undefined ? [] : ['--entrypoint', entrypoint];
        const options = ['run', '--rm', '--name', id, '--net', 'none', ...entry];
        return [...siphon, ...options, reference, ...words];
      },
      kill: async (id) => void (await run(['kill', '--signal', 'KILL', id])),
      objections: ({ layers }) => {
        // A blob that is here was downloaded whole.
        const blob = (digest: string): string =>
          join(place.folder, 'root/content/blobs', digest.replace(':', '/'));
        const whole = layers.filter(({ digest }) => existsSync(blob(digest)));
        return Promise.resolve(whole.map(({ digest }) => `layer ${digest} was downloaded`));
      },
      async [Symbol.asyncDispose]() {
        const closing = { timeout: CLOSING_TIMEOUT };
        const ids = await run(['ps', '--all', '--quiet'], closing).catch(() => '');
        for (const id of ids.split('\n').filter(Boolean)) await run(['rm', '--force', id], closing);
      },
    });
  },
};

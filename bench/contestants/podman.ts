/** podman on fuse-overlayfs: everything is downloaded and unpacked, and the layers are merged outside of the kernel. */

import { join } from 'node:path';
import { CLOSING_TIMEOUT, type ExecuteOptions, executeCommand } from '../programs/execute.js';
import type { StartContestant } from '../harness/contestant.js';

/** Less than podman's own, which not everybody may set. */
const LIMITS = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=4096:4096'];

export const podman: StartContestant = {
  name: 'podman',
  title: 'podman, fuse-overlayfs',
  async find(programs) {
    const missing = programs.missing('podman', 'fuse-overlayfs', 'conmon', 'runc');
    if (missing.length > 0) return { skipped: `needs ${missing.join(', ')}` };
    const [version, overlay] = await Promise.all([
      programs.version('podman'),
      programs.version('fuse-overlayfs'),
    ]);
    return { versions: { podman: version, 'fuse-overlayfs': overlay } };
  },
  open(place, programs) {
    const at = (name: string): string => join(place.folder, name);
    const mountProgram = `overlay.mount_program=${programs.require('fuse-overlayfs')}`;
    const podmanHere = [
      'env',
      `TMPDIR=${place.folder}`,
      programs.require('podman'),
      '--root',
      at('root'),
      '--runroot',
      at('run'),
      '--tmpdir',
      at('tmp'),
      '--storage-driver',
      'overlay',
      '--storage-opt',
      mountProgram,
      '--runtime',
      programs.require('runc'),
      '--cgroup-manager',
      'cgroupfs',
      '--events-backend',
      'file',
    ];
    const run = (words: readonly string[], options?: ExecuteOptions): Promise<string> =>
      executeCommand([...place.enter, ...podmanHere, ...words], options);
    return Promise.resolve({
      pull: async (reference) =>
        void (await run(['pull', '--quiet', '--tls-verify=false', reference])),
      runCommand(reference, { id, command = [] }) {
        // As containerd runs an image, its words are the whole command.
        const [entrypoint, ...words] = command;
        const entry = entrypoint === undefined ? [] : ['--entrypoint', entrypoint];
        const options = ['run', '--rm', '--name', id, '--network', 'none', ...LIMITS, ...entry];
        return [...place.enter, ...podmanHere, ...options, reference, ...words];
      },
      kill: async (id) => void (await run(['kill', '--signal', 'KILL', id])),
      async objections() {
        const words = ['info', '--format', 'json'];
        // podman's own description of itself.
        const { store } = JSON.parse(await run(words)) as { store: Store };
        const { graphDriverName, graphOptions } = store;
        const isFuse = JSON.stringify(graphOptions ?? {}).includes('fuse-overlayfs');
        return graphDriverName === 'overlay' && isFuse ? [] : ['it does not use fuse-overlayfs'];
      },
      async [Symbol.asyncDispose]() {
        const all = ['rm', '--all', '--force', '--time', '0'];
        await run(all, { timeout: CLOSING_TIMEOUT }).catch(() => undefined);
      },
    });
  },
};

interface Store {
  graphDriverName?: string;
  graphOptions?: object;
}

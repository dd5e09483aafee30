import type { StartContestant } from '../harness/contestant.js';
import { openContainerd, storedLayers } from './containerd-installation.js';

/** containerd as it comes: everything is downloaded and unpacked before anything starts. */
export const overlayfs: StartContestant = {
  name: 'overlayfs',
  title: 'containerd, overlayfs',
  async find(programs) {
    const missing = programs.missing('containerd', 'ctr', 'runc');
    if (missing.length > 0) return { skipped: `needs ${missing.join(', ')}` };
    return {
      versions: {
        containerd: await programs.version('containerd'),
        runc: await programs.version('runc'),
      },
    };
  },
  open: (place) =>
    openContainerd(place, {
      snapshotter: 'overlayfs',
      pull: (reference, { ctr }) =>
        ctr(['images', 'pull', '--plain-http', '--snapshotter', 'overlayfs', reference]),
      async objections(image, containerd) {
        const { missing } = await storedLayers(image, containerd);
        return missing.map((digest) => `layer ${digest} was not downloaded`);
      },
    }),
};

/** The SOCI snapshotter, with the index that `soci create` makes beside the image. */

import { join } from 'node:path';
import { execute } from '../programs/execute.js';
import { startContainerd } from '../programs/containerd.js';
import { repositoryOf } from '../harness/bench-registry.js';
import type { StartContestant } from '../harness/contestant.js';
import { notLazy, openContainerd, startSnapshotter, targetOf } from './containerd-installation.js';

const DAEMON = 'soci-snapshotter-grpc';

export const soci: StartContestant = {
  name: 'soci',
  title: 'SOCI snapshotter',
  async find(programs) {
    const missing = programs.missing('containerd', 'ctr', 'runc', DAEMON, 'soci');
    if (missing.length > 0) return { skipped: `needs ${missing.join(', ')}` };
    const [version, containerd] = await Promise.all([
      programs.version(DAEMON),
      programs.version('containerd'),
    ]);
    return { versions: { soci: version, containerd } };
  },
  async prepare(image, { registry, programs, folder, version, signal }) {
    const path = `${repositoryOf(image.path)}-soci-${version}:latest`;
    await registry.push(`docker://${registry.host}/${image.path}`, path, signal);
    const reference = `${registry.host}/${path}`;
    const containerd = await startContainerd({ within: folder });
    try {
      await containerd.ctr(['content', 'fetch', '--plain-http', reference]);
      const program = programs.require('soci');
      const begin = performance.now();
      await execute(program, [...targetOf(containerd), 'create', reference], { signal });
      const ms = performance.now() - begin;
      const push = ['push', '--plain-http', reference];
      await execute(program, [...targetOf(containerd), ...push], { signal });
      const bytes = await registry.referrerBytes(await registry.image(image.name, path));
      return { path, preparation: { what: 'index', ms, bytes } };
    } finally {
      await containerd.close();
    }
  },
  async open(place, programs) {
    const address = join(place.folder, 'soci.sock');
    const words = ['--address', address, '--root', join(place.folder, 'soci')];
    const daemon = [...place.enter, programs.require(DAEMON), ...words];
    return openContainerd(place, {
      snapshotter: 'soci',
      service: await startSnapshotter(address, daemon),
      pull: (reference, containerd) =>
        execute(programs.require('soci'), [
          ...targetOf(containerd),
          'image',
          'rpull',
          '--plain-http',
          '--snapshotter',
          'soci',
          reference,
        ]),
      objections: (image, containerd) => notLazy(image, containerd, place),
    });
  },
};

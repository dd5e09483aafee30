/** The nydus snapshotter, on the image converted by nydusify. */

import { join } from 'node:path';
import { execute } from '../programs/execute.js';
import { repositoryOf, sizeOf } from '../harness/bench-registry.js';
import type { StartContestant } from '../harness/contestant.js';
import {
  openContainerd,
  startSnapshotter,
  storedLayers,
  targetOf,
} from './containerd-installation.js';

const DAEMON = 'containerd-nydus-grpc';
const PROGRAMS = [
  'containerd',
  'ctr',
  'runc',
  'nerdctl',
  DAEMON,
  'nydusd',
  'nydus-image',
  'nydusify',
];

export const nydus: StartContestant = {
  name: 'nydus',
  title: 'nydus snapshotter',
  async find(programs) {
    const missing = programs.missing(...PROGRAMS);
    if (missing.length > 0) return { skipped: `needs ${missing.join(', ')}` };
    const [version, containerd] = await Promise.all([
      programs.version('nydusd'),
      programs.version('containerd'),
    ]);
    return { versions: { nydus: version, containerd } };
  },
  async prepare(image, { registry, programs, folder, version, signal }) {
    const path = `${repositoryOf(image.path)}-nydus-${version}:latest`;
    const [from, to] = [`${registry.host}/${image.path}`, `${registry.host}/${path}`];
    const begin = performance.now();
    await execute(
      programs.require('nydusify'),
      [
        'convert',
        '--source',
        from,
        '--target',
        to,
        '--work-dir',
        folder,
        '--source-insecure',
        '--target-insecure',
        '--nydus-image',
        programs.require('nydus-image'),
      ],
      { signal },
    );
    const ms = performance.now() - begin;
    const { layers } = await registry.image(image.name, path);
    return { path, preparation: { what: 'conversion', ms, bytes: sizeOf(layers) } };
  },
  async open(place, programs) {
    const address = join(place.folder, 'nydus.sock');
    const helpers = [
      '--nydusd',
      programs.require('nydusd'),
      '--nydus-image',
      programs.require('nydus-image'),
    ];
    const words = ['--address', address, '--root', join(place.folder, 'nydus'), ...helpers];
    const daemon = [...place.enter, programs.require(DAEMON), ...words];
    return openContainerd(place, {
      snapshotter: 'nydus',
      service: await startSnapshotter(address, daemon),
      pull: (reference, containerd) =>
        execute(programs.require('nerdctl'), [
          ...targetOf(containerd),
          '--snapshotter',
          'nydus',
          '--insecure-registry',
          'pull',
          reference,
        ]),
      async objections(image, containerd) {
        const { stored } = await storedLayers(image, containerd);
        // Its metadata is a layer that is downloaded; contents are not.
        return stored.length > 1 ? [`${stored.length} layers were downloaded`] : [];
      },
    });
  },
};

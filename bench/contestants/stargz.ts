/** The stargz snapshotter, on the image converted to eStargz. */

import { existsSync } from 'node:fs';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { startContainerd } from '../programs/containerd.js';
import { execute } from '../programs/execute.js';
import { repositoryOf, sizeOf } from '../harness/bench-registry.js';
import type { StartContestant } from '../harness/contestant.js';
import { type ProgramFinder, shortHash } from '../harness/program-finder.js';
import { notLazy, openContainerd, startSnapshotter, targetOf } from './containerd-installation.js';

const DAEMON = 'containerd-stargz-grpc';
/** Where Debian's golang-github-containerd-stargz-snapshotter-dev and what it needs lie. */
const GO_PATH = '/usr/share/gocode';
const LIBRARY = join(GO_PATH, 'src/github.com/containerd/stargz-snapshotter/snapshot');

export const stargz: StartContestant = {
  name: 'stargz',
  title: 'stargz-snapshotter',
  async find(programs) {
    const missing = programs.missing('containerd', 'ctr', 'ctr-remote', 'runc');
    if (missing.length > 0) return { skipped: `needs ${missing.join(', ')}` };
    if ((await daemonPath(programs)) === undefined)
      return {
        skipped: `needs ${DAEMON}, or Debian's packages golang-go and golang-github-containerd-stargz-snapshotter-dev to make it of`,
      };
    const versions = await Promise.all([
      execute('dpkg-query', ['-W', '-f', '${Version}', 'stargz-snapshotter']).catch(
        () => 'unknown',
      ),
      programs.version('containerd'),
    ]);
    return { versions: { 'stargz-snapshotter': versions[0], containerd: versions[1] } };
  },
  async prepare(image, { registry, folder, version, signal }) {
    const path = `${repositoryOf(image.path)}-estargz-${version}:latest`;
    const [from, to] = [`${registry.host}/${image.path}`, `${registry.host}/${path}`];
    const containerd = await startContainerd({ within: folder });
    try {
      await containerd.ctr(['content', 'fetch', '--plain-http', from]);
      signal.throwIfAborted();
      const begin = performance.now();
      const convert = ['images', 'convert', '--estargz', '--oci', from, to];
      await execute('ctr-remote', [...targetOf(containerd), ...convert], { signal });
      const ms = performance.now() - begin;
      await containerd.ctr(['images', 'push', '--plain-http', to]);
      const { layers } = await registry.image(image.name, path);
      return { path, preparation: { what: 'conversion', ms, bytes: sizeOf(layers) } };
    } finally {
      await containerd.close();
    }
  },
  async open(place, programs) {
    const daemon = await daemonPath(programs);
    if (daemon === undefined) throw new Error(`Cannot find program "${DAEMON}"`);
    const address = join(place.folder, 'stargz.sock');
    const words = ['-address', address, '-root', join(place.folder, 'stargz')];
    return openContainerd(place, {
      snapshotter: 'stargz',
      service: await startSnapshotter(address, [...place.enter, daemon, ...words]),
      pull: (reference, { ctrRemote }) =>
        ctrRemote(['images', 'rpull', '--plain-http', '--snapshotter', 'stargz', reference]),
      objections: (image, containerd) => notLazy(image, containerd, place),
    });
  },
};

/** As found; else as made once of the library that Debian packages. */
async function daemonPath(programs: ProgramFinder): Promise<string | undefined> {
  const found = programs.find(DAEMON);
  if (found !== undefined) return found;
  const source = new URL('../../../bench/contestants/stargz/main.go', import.meta.url).pathname;
  if (programs.find('go') === undefined || !existsSync(LIBRARY) || !existsSync(source))
    return undefined;
  const folder = join(programs.cache, 'programs', shortHash(await readFile(source, 'utf8')));
  const path = join(folder, DAEMON);
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  const env = {
    ...process.env,
    GO111MODULE: 'off',
    GOPATH: GO_PATH,
    GOCACHE: join(programs.cache, 'go-build'),
  };
  await execute('go', ['build', '-o', `${path}.part`, source], { env });
  await rename(`${path}.part`, path);
  return path;
}

/** siphon as containerd's snapshotter, with indexes beside the image and without. */

import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { execute } from '../programs/execute.js';
import { siphonProgram } from '../programs/siphon-program.js';
import { startSiphonService } from '../programs/siphon-service.js';
import type { ServiceStatus } from '#src/monitor/service-status.js';
import { packageVersion } from '#src/cli/version.js';
import type {
  Found,
  Installation,
  Place,
  PrepareTools,
  PreparedImage,
  StartContestant,
} from '../harness/contestant.js';
import type { PublishedImage } from '../harness/published-image.js';
import type { ProgramFinder } from '../harness/program-finder.js';
import { openContainerd, storedLayers } from './containerd-installation.js';
import { repositoryOf } from '../harness/bench-registry.js';

/** Layers below it are unpacked by intent (`smallest_lazy_layer`). */
const SMALLEST_LAZY = 256 * 1024;

/** For all of siphon that start from indexes: one set serves them. */
export const WITH_INDEXES: Pick<StartContestant, 'prepare' | 'preparedBy'> = {
  prepare: publishWithIndexes,
  preparedBy: ({ siphon }) => `siphon ${siphon}`,
};

/** Without any index: each layer is downloaded, indexed on the way, and served from where it is kept. */
export const siphonStreamed: StartContestant = {
  name: 'siphon-streamed',
  title: 'siphon, streamed',
  find,
  open: (place) => open(place, 'streamed'),
};

/** With the indexes that `siphon index build --push` published beside the image. */
export const siphonIndexed: StartContestant = {
  name: 'siphon-indexed',
  title: 'siphon, indexed',
  find,
  ...WITH_INDEXES,
  open: (place) => open(place, 'lazy'),
};

/** Publishes a copy of the image with the indexes of its layers. */
async function publishWithIndexes(
  image: PublishedImage,
  { registry, folder, version, signal }: PrepareTools,
): Promise<PreparedImage> {
  const path = `${repositoryOf(image.path)}-indexed-${version}:latest`;
  await registry.push(`docker://${registry.host}/${image.path}`, path, signal);
  const begin = performance.now();
  const words = ['--root', join(folder, 'root'), 'index', 'build', '--push'];
  const source = `docker://${registry.host}/${path}`;
  await execute(process.execPath, [siphonProgram, ...words, source], { signal });
  const ms = performance.now() - begin;
  const bytes = await registry.referrerBytes(await registry.image(image.name, path));
  return { path, preparation: { what: 'index', ms, bytes } };
}

async function find(programs: ProgramFinder): Promise<Found> {
  const missing = programs.missing('containerd', 'ctr', 'ctr-remote', 'runc');
  if (missing.length > 0) return { skipped: `needs ${missing.join(', ')}` };
  const containerd = await programs.version('containerd');
  return { versions: { siphon: siphonVersion(), containerd } };
}

/** With the sources that this build is of, so that indexes of another are not taken for its own. */
export function siphonVersion(): string {
  const stamp = createRequire(import.meta.url)
    .resolve('#src/cli/main.js')
    .replace('cli/main.js', '.stamp');
  const build = existsSync(stamp) ? readFileSync(stamp, 'utf8').slice(0, 8) : 'unknown';
  return `${packageVersion()}+${build}`;
}

async function open(place: Place, expected: 'lazy' | 'streamed'): Promise<Installation> {
  const root = join(place.folder, 'siphon');
  await mkdir(root);
  // Everything as it comes: the service's own way for tests is told otherwise.
  const config = join(place.folder, 'default.toml');
  const hostsDir = join(place.folder, 'certs.d');
  await writeFile(config, `hosts_dir = "${hostsDir}"\n`);
  const options = ['--config', config, '--log-level', 'info'];
  const at = { directory: place.folder, root, enter: place.enter };
  const service = await startSiphonService(at, ...options);
  return openContainerd(place, {
    snapshotter: 'siphon',
    service: { address: service.address, close: () => service.stop() },
    async pull(reference, { ctrRemote }) {
      await allowPlainHttp(hostsDir, reference.slice(0, reference.indexOf('/')));
      const words = ['images', 'rpull', '--plain-http', '--snapshotter', 'siphon', reference];
      await ctrRemote(words);
    },
    async objections(image, containerd) {
      const { stored } = await storedLayers(image, containerd);
      const words = [siphonProgram, '--root', root, 'status', '--json'];
      // Our own program's.
      const status = JSON.parse(await execute(process.execPath, words)) as ServiceStatus;
      return [
        ...stored.map((digest) => `layer ${digest} was left to containerd`),
        ...served(image, status, expected),
      ];
    },
  });
}

/** Says in containerd's hosts folder that a registry has no TLS, which is so without saying on loopback alone. */
async function allowPlainHttp(hostsDir: string, host: string): Promise<void> {
  await mkdir(join(hostsDir, host), { recursive: true });
  await writeFile(join(hostsDir, host, 'hosts.toml'), `server = "http://${host}"\n`);
}

/** How layers were decided upon: one that was lazy is served from disk once all of it is here. */
function served(image: PublishedImage, status: ServiceStatus, expected: string): string[] {
  const others = status.counters.layers.filter(
    ({ decision, count }) => count > 0 && decision !== expected && decision !== 'unpacked',
  );
  const here = new Set<string>(status.layers.map(({ digest }) => digest));
  const missing = image.layers.filter(
    ({ digest, size }) => size >= SMALLEST_LAZY && !here.has(digest),
  );
  return [
    ...others.map(
      ({ count, decision, reason }) =>
        `${count} layers are ${decision} (${reason}), expected ${expected}`,
    ),
    ...missing.map(({ digest }) => `layer ${digest} is not served`),
  ];
}

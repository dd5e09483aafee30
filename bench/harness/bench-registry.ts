/**
 * The registry that everyone pulls from: a docker-registry whose storage stays in the cache folder, behind the
 * meter. What is made ready beforehand goes to it directly.
 */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startDockerRegistry } from '../programs/docker-registry.js';
import { execute } from '../programs/execute.js';
import { type TrafficMeter, startTrafficMeter } from '../meters/traffic-meter.js';
import type { PublishedImage } from './published-image.js';
import type { BenchLayer } from './result.js';

/** What is looked at of manifests and indexes. */
interface Document {
  config?: { digest: string };
  layers?: BenchLayer[];
  manifests?: { digest: string; platform?: { architecture?: string } }[];
}

const ACCEPTED = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];

export interface BenchRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`, past the meter. */
  host: string;
  meter: TrafficMeter;
  /** Copies an image in, from what skopeo takes as a source. @param path `REPOSITORY:TAG` */
  push(source: string, path: string, signal: AbortSignal): Promise<void>;
  /** @throws Error where there is none */
  image(name: string, path: string): Promise<PublishedImage>;
  /** Bytes of the layers of all artifacts that refer to an image by the tag `sha256-<hex>`. */
  referrerBytes(image: PublishedImage): Promise<number>;
}

export async function openBenchRegistry(cache: string): Promise<BenchRegistry> {
  const storage = join(cache, 'registry');
  await mkdir(storage, { recursive: true });
  const registry = await startDockerRegistry({ storage });
  const { host } = registry;
  const meter = await startTrafficMeter(host);
  return {
    host,
    meter,
    async push(source, path, signal) {
      const insecure = ['--src-tls-verify=false', '--dest-tls-verify=false'];
      const words = ['--insecure-policy', 'copy', '--quiet', ...insecure, source];
      await execute('skopeo', [...words, `docker://${host}/${path}`], { signal });
    },
    async image(name, path) {
      return { name, path, ...(await readImage(host, path)) };
    },
    async referrerBytes({ path, digest }) {
      const repository = repositoryOf(path);
      const { document } = await read(host, repository, digest.replace(':', '-'));
      const sizes = (document.manifests ?? []).map(async (entry) => {
        const { layers = [] } = (await read(host, repository, entry.digest)).document;
        return sizeOf(layers);
      });
      return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    },
    async [Symbol.asyncDispose]() {
      await meter[Symbol.asyncDispose]();
      await registry.close();
    },
  };
}

/** Bytes of all of them. */
export function sizeOf(layers: readonly { size: number }[]): number {
  return layers.reduce((sum, { size }) => sum + size, 0);
}

/** The name without the tag. */
export function repositoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf(':'));
}

async function readImage(
  host: string,
  path: string,
): Promise<Omit<PublishedImage, 'name' | 'path'>> {
  const repository = repositoryOf(path);
  const reference = path.slice(repository.length + 1);
  const { digest, document } = await read(host, repository, reference);
  const { config, layers } = document;
  if (config !== undefined && layers !== undefined) {
    const sizes = layers.map((layer) => ({ digest: layer.digest, size: layer.size }));
    return { digest, config: config.digest, layers: sizes };
  }
  // The platform's own, where an index names platforms.
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const found = document.manifests?.find((one) => one.platform?.architecture === architecture);
  const only = found ?? document.manifests?.[0];
  if (only === undefined) throw new Error(`Cannot use image "${path}": it has no layers`);
  return readImage(host, `${repository}:${only.digest}`);
}

async function read(
  host: string,
  repository: string,
  reference: string,
): Promise<{ digest: string; document: Document }> {
  const url = `http://${host}/v2/${repository}/manifests/${reference}`;
  const answer = await fetch(url, { headers: { accept: ACCEPTED.join(', ') } });
  if (!answer.ok) throw new Error(`Cannot read manifest "${url}": ${answer.status}`);
  // The registry is ours, and what is in it was put there by tools that write manifests.
  const document = (await answer.json()) as Document;
  return { digest: answer.headers.get('docker-content-digest') ?? '', document };
}

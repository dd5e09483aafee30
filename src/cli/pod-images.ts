/** What `siphon serve` does for a kubelet, where its configuration names containerd's image service. */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { SealedFile } from '../common/sealed-file.js';
import type { ImageService } from '../cri/image-service.js';
import { PodCredentials } from '../cri/pod-credentials.js';
import type { Keeper } from '../layers/keeper.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { CredentialSource } from '../remote/credentials.js';
import type { ServiceConfig } from './config.js';

/** Bytes that a key has at least. */
const SHORTEST_KEY = 32;

export interface PodImages extends AsyncDisposable {
  /** Those of pods, else those on this machine. */
  credentials: CredentialSource;
  /** From now on, what no layer of these is drawn with is not kept. */
  keepFor(layers: LayerStore): void;
  /** To be served on siphon's socket. */
  openService(): Promise<ImageService>;
}

/**
 * Credentials are kept for the next server under the key of the configuration, or else under a secret that
 * ends with the service.
 * @throws SiphonError `usage` or `permission` for a key that will not do
 */
export function openPodImages(
  config: ServiceConfig & { root: string; image_service: string },
  keeper: Keeper | undefined,
  log: Logger,
): PodImages {
  const { root, image_service: containerd, credentials_key: keyPath } = config;
  const secret = keyPath === undefined ? keeper?.secret : readKey(keyPath);
  const path = join(root, 'credentials');
  const file = secret && new SealedFile(path, secret, "siphon: pods' credentials");
  const pods = new PodCredentials({ file, log });
  return {
    credentials: pods.before(async (...asked) => {
      // Nothing of it is loaded until somebody asks.
      const { storedCredentials } = await import('../remote/credentials.js');
      return storedCredentials()(...asked);
    }),
    keepFor: (layers) => pods.keepFor(() => repositoriesOf(layers)),
    openService: async () => {
      const { imageService } = await import('../cri/image-service.js');
      return imageService({ containerd, pods, log });
    },
    [Symbol.asyncDispose]: () => pods[Symbol.asyncDispose](),
  };
}

/** `host/repository` of all layers that are drawn from a registry. */
function repositoriesOf(layers: LayerStore): ReadonlySet<string> {
  const origins = layers.list().map(({ origin }) => origin);
  return new Set(
    origins.flatMap((one) => (one.kind === 'registry' ? [`${one.host}/${one.repository}`] : [])),
  );
}

function readKey(path: string): Buffer {
  let key: Buffer;
  try {
    if ((statSync(path).mode & 0o077) !== 0) {
      const message = `Cannot use key "${path}": others may read it, expected a file of its owner alone`;
      throw new SiphonError('permission', message);
    }
    key = readFileSync(path);
  } catch (cause) {
    if (cause instanceof SiphonError) throw cause;
    throw new SiphonError('usage', `Cannot read key "${path}": ${errorMessage(cause)}`, { cause });
  }
  if (key.length >= SHORTEST_KEY) return key;
  throw new SiphonError(
    'usage',
    `Cannot use key "${path}": it has ${key.length} bytes, expected at least ${SHORTEST_KEY}`,
  );
}

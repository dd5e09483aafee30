/** The service's configuration file (TOML). Unknown keys are refused, so that a typo is noticed. */

import { readFile } from 'node:fs/promises';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { SiphonError, errorMessage } from '../common/errors.js';
import { defaultFillAfter, maxFillAfter } from '../layers/fill-after.js';
import { defaultSmallestLazyLayer } from '../layers/layer-policy.js';
import { defaultQueueLimits } from '../remote/fetch-queue.js';

const configSchema = z.strictObject({
  /** Folder for content, layers, snapshots and state. */
  root: z.string().optional(),
  /** Path of the unix socket that containerd connects to. */
  address: z.string().optional(),
  /** Whether to serve layers lazily at all; without, siphon is an ordinary overlay snapshotter. */
  lazy: z.boolean().default(true),
  /** Layers whose blob has fewer bytes are unpacked at once. */
  smallest_lazy_layer: z.number().int().nonnegative().default(defaultSmallestLazyLayer),
  /** Whether containerd has `capabilities = ["remap-ids"]` for this plugin (containerd 2 or later). */
  remap_ids: z.boolean().default(false),
  /** Where counters are to be had for Prometheus, at /metrics: host:port, or the path of a unix socket. */
  metrics_address: z.string().optional(),
  /** containerd's hosts folder; default: /etc/containerd/certs.d. */
  hosts_dir: z.string().optional(),
  /**
   * containerd's socket, for whose image service (CRI) siphon stands in: what kubelets bring along to pull
   * images with is then siphon's too. Off by default.
   */
  image_service: z.string().optional(),
  /** File with a secret of 32 bytes or more, under which that is kept over a restart; without, it is not. */
  credentials_key: z.string().optional(),
  /** How long a read waits for a registry before it fails, in seconds. */
  fetch_timeout: z.number().positive().max(3600).default(60),
  /** Bytes of disk that what is kept of lazy layers may take; half of the file system where it is not said. */
  cache_size: z.number().int().positive().optional(),
  /** When the rest of layers begins to be fetched, in seconds after they are first served; or "never". */
  fill_after: z
    .union([z.number().nonnegative().max(maxFillAfter), z.literal('never')])
    .default(defaultFillAfter),
  /** Requests for layers' contents that one registry gets at a time. */
  registry_requests: z.number().int().min(1).max(64).default(defaultQueueLimits.requests),
  /** Bytes of layers' contents per second that are asked of one registry, on average; not limited by default. */
  registry_rate: z.number().positive().optional(),
});

export type ServiceConfig = z.infer<typeof configSchema>;

/** Defaults for everything where `path` is undefined. @throws SiphonError `usage` naming file and key */
export async function readConfig(path: string | undefined): Promise<ServiceConfig> {
  if (path === undefined) return configSchema.parse({});
  let content: unknown;
  try {
    content = parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new SiphonError('usage', `Cannot read configuration "${path}": ${errorMessage(error)}`);
  }
  const result = configSchema.safeParse(content);
  if (result.success) return result.data;
  throw new SiphonError('usage', `Cannot use configuration "${path}": ${describe(result.error)}`);
}

function describe(error: z.ZodError): string {
  return error.issues
    .map((issue) => `${issue.path.length > 0 ? `${issue.path.join('.')}: ` : ''}${issue.message}`)
    .join('; ');
}

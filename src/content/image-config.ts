/**
 * The image configuration (OCI image-spec, config.md): what to run, and which layers make the file
 * system. Field names are the specification's. Docker's and Go's encoders write `null` for empty
 * lists and maps; here they are empty, so that users need not ask twice.
 */

import { z } from 'zod';
import { type DiffId, isDigest, parseDiffId } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { parseDocument } from '../remote/descriptor.js';

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const texts = z
  .array(z.string())
  .nullish()
  .transform((value) => value ?? []);
const set = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((value) => Object.keys(value ?? {}));
const map = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {});

const processSchema = z.object({
  User: text,
  /** `NAME=value` each. */
  Env: texts,
  Entrypoint: texts,
  Cmd: texts,
  WorkingDir: text,
  StopSignal: text,
  Labels: map,
  /** Paths. */
  Volumes: set,
  /** `port/protocol` each. */
  ExposedPorts: set,
});

const historySchema = z.object({
  created: z.string().optional(),
  created_by: z.string().optional(),
  author: z.string().optional(),
  comment: z.string().optional(),
  empty_layer: z.boolean().optional(),
});

const diffId = z.string().refine(isDigest, 'expected a sha256 digest').transform(parseDiffId);

const configSchema = z.object({
  architecture: text,
  os: text,
  variant: z.string().optional(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
  created: z.string().optional(),
  author: z.string().optional(),
  config: processSchema.nullish().transform((value) => value ?? processSchema.parse({})),
  rootfs: z.object({
    diff_ids: z
      .array(diffId)
      .nullish()
      .transform((value) => value ?? []),
  }),
  history: z
    .array(historySchema)
    .nullish()
    .transform((value) => value ?? []),
});

/** A parsed configuration. Empty strings, lists and maps stand for what the image leaves open. */
export type ImageConfig = z.infer<typeof configSchema>;

/**
 * @param name what the configuration belongs to, for messages
 * @throws SiphonError `invalid`
 */
export function parseImageConfig(bytes: Uint8Array, name: string): ImageConfig {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new SiphonError('invalid', `Cannot read config of "${name}": it is not JSON`, { cause });
  }
  return parseDocument(configSchema, json, `config of "${name}"`);
}

/**
 * The diff ids, of which there must be one for each of the image's layers.
 * @throws SiphonError `invalid`
 */
export function diffIdsOf(config: ImageConfig, layerCount: number, name: string): DiffId[] {
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length === layerCount) return diffIds;
  throw new SiphonError(
    'invalid',
    `Cannot open image "${name}": its config has ${diffIds.length} diff ids, expected ${layerCount}, one for each layer`,
  );
}

/** The configuration of a bare layer tar: this machine's platform, nothing to run, root's shell path. */
export function defaultImageConfig(
  platform: { architecture: string; os: string; variant?: string | undefined },
  diffIds: DiffId[] = [],
): ImageConfig {
  return {
    ...configSchema.parse({ ...platform, rootfs: {} }),
    rootfs: { diff_ids: diffIds },
  };
}

/** OCI content descriptors (image-spec, descriptor.md) and the media types that siphon meets. */

import { z } from 'zod';
import { type Digest, digestOf, isDigest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';

/** image-spec, image-index.md, "platform". */
export interface Platform {
  architecture: string;
  os: string;
  variant?: string;
  'os.version'?: string;
  'os.features'?: string[];
}

export interface Descriptor {
  mediaType: string;
  digest: Digest;
  /** Bytes. */
  size: number;
  annotations?: Record<string, string>;
  platform?: Platform;
  artifactType?: string;
  urls?: string[];
  /** The content itself, base64. */
  data?: string;
}

export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociEmpty: 'application/vnd.oci.empty.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  ociForeignLayer: 'application/vnd.oci.image.layer.nondistributable.v1.tar',
  ociForeignLayerGzip: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  ociForeignLayerZstd: 'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
  dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  dockerForeignLayer: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
} as const;

/** A list of manifests, one for each platform: OCI image index or docker manifest list. */
export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerList;
}

/** A manifest of one image or artifact. */
export function isManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;
}

/** A sha256 digest, for schemas of other documents. */
export const digestSchema = z.custom<Digest>(
  (value) => typeof value === 'string' && isDigest(value),
  'expected a sha256 digest',
);

const platformSchema: z.ZodType<Platform> = z.object({
  architecture: z.string(),
  os: z.string(),
  variant: z.string().optional(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
});

/** For schemas of documents that hold descriptors; unknown fields are dropped. */
export const descriptorSchema: z.ZodType<Descriptor> = z.object({
  mediaType: z.string().min(1),
  digest: digestSchema,
  size: z.int().nonnegative(),
  annotations: z.record(z.string(), z.string()).optional(),
  platform: platformSchema.optional(),
  artifactType: z.string().optional(),
  urls: z.array(z.string()).optional(),
  data: z.string().optional(),
});

/** @throws SiphonError `invalid`, naming the first wrong field */
export function parseDescriptor(value: unknown): Descriptor {
  return parseDocument(descriptorSchema, value, 'descriptor');
}

/** The descriptor of `bytes`. */
export function describe(bytes: Uint8Array, mediaType: string): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.byteLength };
}

/**
 * Checks `value` against `schema`.
 * @param thing what it is, for the message: `image index "sha256:…"`
 * @throws SiphonError `invalid`, naming the first wrong field
 */
export function parseDocument<T>(schema: z.ZodType<T>, value: unknown, thing: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue === undefined || issue.path.length === 0 ? '' : `"${issue.path.join('.')}": `;
  throw new SiphonError(
    'invalid',
    `Cannot read ${thing}: ${field}${issue?.message ?? 'malformed'}`,
  );
}

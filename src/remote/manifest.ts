/** The two documents a registry keeps besides blobs: image indexes and manifests (image-spec v1.1). */

import { z } from 'zod';
import { SiphonError } from '../common/errors.js';
import { type Descriptor, descriptorSchema, parseDocument } from './descriptor.js';

/** OCI image index or docker manifest list. */
export interface ImageIndex {
  schemaVersion: 2;
  mediaType?: string;
  artifactType?: string;
  manifests: Descriptor[];
  subject?: Descriptor;
  annotations?: Record<string, string>;
}

/** OCI or docker manifest of one image, or of an artifact. */
export interface Manifest {
  schemaVersion: 2;
  mediaType?: string;
  artifactType?: string;
  config: Descriptor;
  layers: Descriptor[];
  subject?: Descriptor;
  annotations?: Record<string, string>;
}

/** Limits on lists in hostile documents; far above what overlay can stack or a registry accepts. */
const MAX_LAYERS = 4096;
const MAX_MANIFESTS = 16384;

const common = {
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  subject: descriptorSchema.optional(),
  annotations: z.record(z.string(), z.string()).optional(),
};

const indexSchema: z.ZodType<ImageIndex> = z.object({
  ...common,
  manifests: z.array(descriptorSchema).max(MAX_MANIFESTS),
});

const manifestSchema: z.ZodType<Manifest> = z.object({
  ...common,
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(MAX_LAYERS),
});

/**
 * @param name what the bytes are called in messages: a digest, a path
 * @throws SiphonError `invalid`
 */
export function parseImageIndex(bytes: Uint8Array, name: string): ImageIndex {
  return parseDocument(
    indexSchema,
    parseJson(bytes, `image index "${name}"`),
    `image index "${name}"`,
  );
}

/** As {@link parseImageIndex}, for the manifest of one image or artifact. */
export function parseManifest(bytes: Uint8Array, name: string): Manifest {
  return parseDocument(
    manifestSchema,
    parseJson(bytes, `manifest "${name}"`),
    `manifest "${name}"`,
  );
}

/** What an artifact is: its own type, else that of its config (distribution-spec, "Listing Referrers"). */
export function artifactTypeOf(document: Manifest | ImageIndex): string | undefined {
  if (document.artifactType !== undefined) return document.artifactType;
  return 'config' in document ? document.config.mediaType : undefined;
}

function parseJson(bytes: Uint8Array, thing: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new SiphonError('invalid', `Cannot read ${thing}: it is not JSON`, { cause });
  }
}

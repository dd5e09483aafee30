/** What the tests of registries share: impatient policies, small images, error codes. */

import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { type Descriptor, describe, mediaTypes } from '#src/remote/descriptor.js';
import { parseReference } from '#src/remote/reference.js';
import { Registry, type RegistryOptions } from '#src/remote/registry.js';
import { anonymous } from '#src/remote/credentials.js';

export const repository = 'team/app';
/** For servers that are silent on purpose: no longer than a busy machine may take for one that is not. */
export const impatient = {
  retry: { attempts: 3, firstDelay: 1, maxDelay: 5 },
  timeouts: { connect: 5000, headers: 1000, idle: 1000, total: 20_000 },
};
/** For real servers on a busy machine: quick to try again, but in no hurry for an answer. */
export const patient = { retry: impatient.retry };

export function signal(): AbortSignal {
  return AbortSignal.timeout(30_000);
}

/** A client of {@link repository} on `host`, without credentials unless given. */
export function openRegistry(host: string, options: Partial<RegistryOptions> = {}): Registry {
  return new Registry({
    reference: parseReference(`${host}/${repository}`),
    credentials: anonymous,
    ...patient,
    ...options,
  });
}

export interface Blob {
  descriptor: Descriptor;
  bytes: Buffer;
}

export function blobOf(content: Uint8Array | string, mediaType = 'application/octet-stream'): Blob {
  const bytes = Buffer.from(content);
  return { bytes, descriptor: describe(bytes, mediaType) };
}

export function randomBlob(size: number): Blob {
  return blobOf(randomBytes(size), mediaTypes.ociLayerGzip);
}

/** An OCI manifest over `layers` with the empty config, which must be pushed besides. */
export function manifestOf(layers: Descriptor[], more: object = {}): Blob {
  const config = emptyConfig.descriptor;
  const document = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers, ...more };
  return blobOf(JSON.stringify(document), mediaTypes.ociManifest);
}

export const emptyConfig = blobOf('{}', mediaTypes.ociEmpty);

/** Uploads a manifest with its blobs. */
export async function pushImage(registry: Registry, layers: Blob[], tag: string): Promise<Blob> {
  for (const { descriptor, bytes } of [emptyConfig, ...layers]) {
    await registry.pushBlob(descriptor, bytes, signal());
  }
  const manifest = manifestOf(layers.map(({ descriptor }) => descriptor));
  await registry.pushManifest({ tag }, manifest.bytes, mediaTypes.ociManifest, signal());
  return manifest;
}

export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** What `promise` fails with; that it succeeds fails the test. */
export async function failureOf(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(outcome instanceof Error)) expect.fail('it succeeded');
  return outcome;
}

/** A matcher for messages; vitest's own are typed `any`. */
export function containing(text: string): unknown {
  return expect.stringContaining(text);
}

/** Manifests and indexes from a registry, by tag or digest. */

import { z } from 'zod';
import { type Digest, digestOf, isDigest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import {
  type Descriptor,
  describe,
  isIndexType,
  isManifestType,
  mediaTypes,
} from './descriptor.js';
import type { Endpoint } from './endpoint.js';
import { expectStatus, readBody } from './http-answer.js';
import { foreignText } from './foreign-text.js';
import type { HttpResponse } from './http-exchange.js';
import { type ManifestTarget, formatTarget, targetPath } from './target.js';

/** distribution-spec: registries should refuse what is longer than this, in bytes. */
const MAX_MANIFEST = 4 * 1024 * 1024;

const ACCEPTED = [
  mediaTypes.ociIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerList,
  mediaTypes.dockerManifest,
].join(', ');

export interface FetchedManifest {
  descriptor: Descriptor;
  bytes: Buffer;
}

/**
 * @throws SiphonError `not-found`; `corrupt` where the bytes have another digest than asked for or
 * than the registry says; `unsupported` where it is no manifest or index of a known kind
 */
export async function fetchManifest(
  endpoint: Endpoint,
  target: ManifestTarget,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  const name = `${endpoint.name}${formatTarget(target)}`;
  const needs = 'digest' in target ? 'pull' : 'resolve';
  const options = { needs, signal } as const;
  return endpoint.attempt(`read manifest "${name}"`, options, async (host, attemptSignal) => {
    const response = await host.send({
      method: 'GET',
      target: `manifests/${targetPath(target)}`,
      headers: { accept: ACCEPTED },
      access: 'pull',
      signal: attemptSignal,
    });
    await expectStatus(response, [200], `read manifest "${name}"`);
    const bytes = await readBody(response, MAX_MANIFEST, `manifest "${name}"`);
    checkDigest(bytes, expectedDigest(target, response), name);
    return { descriptor: describe(bytes, mediaTypeOf(response, bytes, name)), bytes };
  });
}

function expectedDigest(target: ManifestTarget, response: HttpResponse): Digest | undefined {
  if ('digest' in target) return target.digest;
  const said = response.header('docker-content-digest');
  return said !== undefined && isDigest(said) ? said : undefined;
}

function checkDigest(bytes: Buffer, expected: Digest | undefined, name: string): void {
  const digest = digestOf(bytes);
  if (expected === undefined || digest === expected) return;
  throw new SiphonError(
    'corrupt',
    `Cannot read manifest "${name}": it has digest ${digest}, expected ${expected}`,
  );
}

/** The header, or the document's own word where the header is a plain JSON type. */
function mediaTypeOf(response: HttpResponse, bytes: Buffer, name: string): string {
  const header = response.header('content-type')?.split(';')[0]?.trim() ?? '';
  const mediaType = isKnown(header) ? header : declaredMediaType(bytes);
  if (mediaType !== undefined && isKnown(mediaType)) return mediaType;
  throw new SiphonError(
    'unsupported',
    `Cannot read manifest "${name}": its media type is "${foreignText(header)}", expected an OCI or docker image manifest or index`,
  );
}

function isKnown(mediaType: string): boolean {
  return isIndexType(mediaType) || isManifestType(mediaType);
}

function declaredMediaType(bytes: Buffer): string | undefined {
  try {
    const document: unknown = JSON.parse(bytes.toString('utf8'));
    return z.object({ mediaType: z.string() }).safeParse(document).data?.mediaType;
  } catch {
    return undefined;
  }
}

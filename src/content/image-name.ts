/** Under which name an image is recorded. */

import { resolve } from 'node:path';
import { SiphonError } from '../common/errors.js';
import type { Digest } from '../common/digest.js';
import { type Reference, formatReference, parseReference } from '../remote/reference.js';
import { type Source, formatSource, parseSource } from './source.js';

/** The full reference of an image of a registry; of any other, its source with an absolute path. */
export function imageName(source: Source): string {
  return 'path' in source
    ? formatSource({ ...source, path: resolve(source.path) })
    : formatSource(source);
}

/** The name of a recorded image as a person has typed it. @throws SiphonError `usage` */
export function parseImageName(text: string): string {
  return imageName(parseSource(text));
}

/** A new name for an image: a reference with a tag. @throws SiphonError `usage` */
export function parseTag(text: string): Reference {
  const reference = parseReference(text);
  if (reference.digest === undefined) return reference;
  throw new SiphonError(
    'usage',
    `Cannot name an image "${text}": it has a digest, expected HOST/REPOSITORY[:TAG]`,
  );
}

/** Where exactly this image lies, whatever its tag comes to mean. */
export function pinnedOrigin(source: Source, digest: Digest): string {
  if (source.kind !== 'registry') return imageName(source);
  const { host, repository } = source.reference;
  return formatReference({ host, repository, digest });
}

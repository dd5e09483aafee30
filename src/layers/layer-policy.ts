/**
 * What becomes of a layer that containerd asks for, decided here and nowhere else:
 *
 * - `lazy`: its index is here, or was published, and what is read is drawn from where the blob lies.
 * - `streamed`: there is no index anywhere; one pass made one, and reads are served from the blob, kept here.
 * - `unpacked`: its files were put into the snapshot's folder.
 * - `left`: containerd fetches and unpacks it, or fails for its own reasons.
 * - `refused`: its registry is gone or the disk is full, so that containerd could not have it either.
 *
 * Serving lazily is tried where nothing speaks against it; what goes wrong then decides the rest. Pure.
 */

import type { ErrorCode } from '../common/errors.js';
import { type Descriptor, mediaTypes } from '../remote/descriptor.js';

/** The reasons are few words, for counting. */
export type Decision =
  | { way: 'lazy'; reason: 'index' }
  | { way: 'streamed'; reason: 'no-index' }
  | Unpacked
  | { way: 'left'; reason: ErrorCode }
  | { way: 'refused'; reason: 'unavailable' | 'no-space' };

export interface Unpacked {
  way: 'unpacked';
  /** `not-served`: it was lazy once, and cannot be served any more. */
  reason: 'small' | 'format' | 'not-served';
}

/** What a person may settle. */
export interface PolicySettings {
  /** Bytes of the blob, as the registry has it, from which on a layer is served lazily. */
  smallestLazyLayer: number;
}

/**
 * Below this many bytes a layer is unpacked. A span is at least 1 MiB of the tar, so that the first read
 * of such a layer draws all of it anyway: unpacking costs the same one request, needs no index, and is
 * read at the file system's own speed from then on.
 */
export const defaultSmallestLazyLayer = 256 * 1024;

const layerTypes: ReadonlySet<string> = new Set([
  mediaTypes.ociLayer,
  mediaTypes.ociLayerGzip,
  mediaTypes.ociLayerZstd,
  mediaTypes.dockerLayer,
  mediaTypes.dockerLayerGzip,
  mediaTypes.dockerLayerZstd,
  mediaTypes.dockerForeignLayer,
  mediaTypes.ociForeignLayer,
  mediaTypes.ociForeignLayerGzip,
  mediaTypes.ociForeignLayerZstd,
]);

/** What is known before anything of the layer was fetched; `undefined`: serving it lazily is to be tried. */
export function decideAtFirst(
  { mediaType, size }: Pick<Descriptor, 'mediaType' | 'size'>,
  { smallestLazyLayer }: PolicySettings,
): Decision | undefined {
  // containerd may have a processor for what nothing here reads, such as an encrypted layer.
  if (!layerTypes.has(mediaType)) return { way: 'left', reason: 'unsupported' };
  if (size < smallestLazyLayer) return { way: 'unpacked', reason: 'small' };
  return undefined;
}

/** The layer can be served; `keptHere`: its whole blob came here for that. */
export function decideWhenServable({ keptHere }: { keptHere: boolean }): Decision {
  return keptHere ? { way: 'streamed', reason: 'no-index' } : { way: 'lazy', reason: 'index' };
}

/**
 * Serving the layer lazily failed. Only of a format is it known that unpacking does better; what cannot be
 * fetched or is damaged stays so, which `undefined` stands for.
 */
export function decideWhenNotServable(code: ErrorCode | undefined): Unpacked | undefined {
  return code === 'unsupported' ? { way: 'unpacked', reason: 'format' } : undefined;
}

/** A layer that cannot be had in any way of siphon's own. @param code `undefined` for a defect */
export function decideWhenFailed(code: ErrorCode | undefined): Decision {
  if (code === 'unavailable' || code === 'no-space') return { way: 'refused', reason: code };
  return { way: 'left', reason: code ?? 'internal' };
}

/**
 * Where a start's time went, by what the registry saw and when the pull ended: the same boundaries for everyone,
 * and nobody is asked. `resolve` ends with the last document that the image is found by; `index` with the last byte
 * of what is no content of the layers (a published index, a table of contents at a blob's end) and came before
 * the container; `fetch` when the container is asked for; `run` with the ready line. A contestant that
 * draws a layer whole before that has fetched it, also where it makes an index on the way.
 */

import type { MeteredRequest } from '../meters/traffic-meter.js';
import type { BenchLayer, Phases, TrafficPiece } from './result.js';

/** Milliseconds after the start's begin, which the traffic's times count from, too. */
export interface StartTimes {
  /** The image is pulled, so that its root file system can be mounted: just before the container is asked for. */
  mountedMs: number;
  readyMs: number;
}

/** What the registry saw. */
export interface StartTraffic {
  log: readonly MeteredRequest[];
  pieces: readonly TrafficPiece[];
}

/**
 * @param layers of the image as this contestant pulls it
 * @param config digest of the image's configuration, which belongs to `resolve`
 * @returns phases that add up to `readyMs`
 */
export function startPhases(
  { mountedMs, readyMs }: StartTimes,
  { log, pieces }: StartTraffic,
  { layers, config }: { layers: readonly BenchLayer[]; config?: string },
): Phases {
  const layerSizes = new Map(layers.map(({ digest, size }) => [digest, size]));
  const before = pieces.filter(({ startMs }) => startMs < mountedMs);
  const isContent = (piece: TrafficPiece): boolean => {
    const size = layerSizes.get(piece.digest);
    return size !== undefined && isDrawnWhole(piece.digest, size, before);
  };
  const firstBlobMs = earliest(before.filter(({ digest }) => digest !== config));
  const resolvedMs = latest(
    log.filter(({ url, status, startMs }) => {
      const isDocument =
        url.includes('/manifests/') || (config !== undefined && url.includes(config));
      return isDocument && status === 200 && startMs < firstBlobMs;
    }),
  );
  const resolve = Math.min(resolvedMs, mountedMs);
  const indexed = before.filter((piece) => piece.digest !== config && !isContent(piece));
  const index = Math.max(0, Math.min(latest(indexed), mountedMs) - resolve);
  return { resolve, index, fetch: mountedMs - resolve - index, run: readyMs - mountedMs };
}

/** Less is a look at the blob: its table of contents, its headers. */
const WHOLE_SHARE = 0.9;

function isDrawnWhole(digest: string, size: number, pieces: readonly TrafficPiece[]): boolean {
  const drawn = pieces.filter((piece) => piece.digest === digest);
  return drawn.reduce((sum, { length }) => sum + length, 0) >= WHOLE_SHARE * size;
}

function earliest(all: readonly { startMs: number }[]): number {
  return Math.min(Infinity, ...all.map(({ startMs }) => startMs));
}

function latest(all: readonly { endMs: number }[]): number {
  return Math.max(0, ...all.map(({ endMs }) => endMs));
}

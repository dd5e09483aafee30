/** A kernel mount that serves image layers. */

import { SiphonError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ServedLayer } from './served-layer.js';

export type { ServedLayer } from './served-layer.js';

/** Spans `firstSpan` to `lastSpan` (inclusive) of a layer that a read needs and of which some are absent. */
export interface Miss {
  layer: number;
  firstSpan: number;
  lastSpan: number;
}

export interface FuseSessionOptions {
  mountPoint: string;
  /** Threads that answer the kernel; default: the number of processors, at least 2, at most 4. */
  workers?: number;
  /** Makes the spans present, or throws; aborted when no read waits for it any more. */
  fetch: (miss: Miss, signal: AbortSignal) => Promise<void>;
  /** Milliseconds until a read that waits for `fetch` fails with EIO; default 60 000. */
  fetchTimeout?: number;
  readAheadKb?: number;
  log?: Logger;
}

/** Counters since the session began. */
export interface FuseStats {
  /** Requests by the operation's name (`lookup`, `read`, …). */
  requests: Record<string, number>;
  /** Reads that had to wait for `fetch`. */
  misses: number;
  /** Reads that failed for want of their bytes. */
  failedReads: number;
  /** Bytes of file contents handed to the kernel. */
  bytesRead: number;
}

export class FuseSession {
  /**
   * @throws SiphonError `permission` (not root), `unsupported` (no /dev/fuse, kernel too old),
   * `not-found`, `busy` for the mount point
   */
  static mount(options: FuseSessionOptions): Promise<FuseSession> {
    throw new SiphonError('internal', `Cannot mount "${options.mountPoint}": not built`);
  }
  declare readonly mountPoint: string;
  /** Makes `<mountPoint>/<number>` exist, at once. */
  declare addLayer: (layer: ServedLayer) => void;
  /** Takes the layer away from new look-ups; what is still open in it answers ESTALE. */
  declare removeLayer: (number: number) => void;
  declare layerPath: (number: number) => string;
  declare stats: () => FuseStats;
  /** @throws SiphonError `busy` where something uses the mount and `lazy` is not set */
  declare unmount: (options?: { lazy?: boolean }) => Promise<void>;
  /** Resolves when the mount is gone, by {@link unmount} or by somebody else's umount. */
  declare readonly ended: Promise<void>;
}

import type { Logger } from '../common/log.js';
import type { LazyLayers } from './lazy-layers.js';

export interface SnapshotterOptions {
  /** Folder of the metadata and the snapshots; made where missing. */
  root: string;
  /** Path of the unix socket. */
  address: string;
  /** Who serves lazy layers; without, every layer is left to containerd to unpack. */
  lazy: LazyLayers | undefined;
  log: Logger;
}

export interface SnapshotterServer {
  /** Ends calls in flight within seconds and removes the socket. */
  close(): Promise<void>;
}

export function serveSnapshotter(options: SnapshotterOptions): Promise<SnapshotterServer> {
  throw new Error(`not ready: ${options.address}`);
}

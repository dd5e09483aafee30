/** What a running service says of itself when it is asked. */

export interface ServiceStatus {
  /** Of the process that serves; another one after it died or was replaced. */
  serverPid: number;
  /** Of the keeper, which stays. */
  keeperPid?: number;
  version: string;
  root: string;
  /** The socket for containerd. */
  address: string;
  /** Whether layers are served lazily at all. */
  lazy: boolean;
  uptimeSeconds: number;
  /** Those in the FUSE mount. */
  layers: ServedLayerStatus[];
  /** Since this server began. */
  counters: ServiceCounters;
}

export interface ServedLayerStatus {
  number: number;
  digest: string;
  decision: 'lazy' | 'streamed';
  /** Bytes of the blob. */
  size: number;
  /** Bytes of the uncompressed layer in the span cache. */
  cachedBytes: number;
  /** Bytes of the blob that are here; all of them once the layer needs no registry. */
  filledBytes: number;
  /** `disk`, or the registry's host; `nowhere` for a layer that turned out not to be what it should be. */
  servedFrom: string;
}

export interface FetchStatus {
  /** Why it is fetched: `waiting` (a read waits), `prefetch`, `fill`. */
  class: string;
  requests: number;
  bytes: number;
  /** Requests that wait for their turn now. */
  queued: number;
}

/** What was asked of one host: a registry, a mirror, a token service, a store that blobs are redirected to. */
export interface HostStatus {
  /** As dialed; `others` for those beyond the first 64. */
  host: string;
  /** Attempts. */
  requests: number;
  /** Those among them without an answer: refused, cut, timed out, cancelled. */
  unanswered: number;
  receivedBytes: number;
  sentBytes: number;
  /** From a request to the headers of its answer. */
  meanSeconds: number;
}

export interface CacheStatus {
  /** Bytes on disk, of all layers. */
  size: number;
  /** Bytes among them of large files that are kept apart. */
  largeFiles: number;
  limit: number;
  /** Taken out so far. */
  evictedBytes: number;
}

export interface ServiceCounters {
  layers: { decision: string; reason: string; count: number }[];
  registryRequests: number;
  registryBytes: number;
  registries: HostStatus[];
  fetches: FetchStatus[];
  cache: CacheStatus;
  spansFetched: number;
  readBytes: number;
  readsThatWaited: number;
  readErrors: number;
}

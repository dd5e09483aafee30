/**
 * What the service knows of itself, as numbers for Prometheus and as a document for people's tools. Most
 * of it is counted where it happens and only read here, when somebody asks.
 */

import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { fileExists } from '../common/file-exists.js';
import type { ContentStore } from '../content/content-store.js';
import type { LayerServer } from '../layers/layer-server.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { LayerOutcome } from '../layers/lazy-snapshots.js';
import type { OpenLayers } from '../layers/open-layers.js';
import { addRegistryMetrics, registryStatus } from './registry-metrics.js';
import type {
  CacheStatus,
  FetchStatus,
  ServedLayerStatus,
  ServiceStatus,
} from './service-status.js';

/** What serves lazy layers; absent where they are off. */
export interface Watched {
  layers: LayerStore;
  content: ContentStore;
  open: OpenLayers;
  server: LayerServer;
}

export type ServiceFacts = Pick<
  ServiceStatus,
  'serverPid' | 'keeperPid' | 'version' | 'root' | 'address' | 'lazy'
>;

/** Seconds: from an index that is here to a layer of gigabytes that is streamed. */
const PREPARE_BUCKETS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];

export class ServiceMonitor {
  readonly #facts: ServiceFacts;
  readonly #registry = new Registry();
  readonly #outcomes: Counter<'decision' | 'reason'>;
  readonly #prepare: Histogram<'decision'>;
  readonly #started = Date.now();
  #watched: Watched | undefined;

  constructor(facts: ServiceFacts) {
    this.#facts = facts;
    const registers = [this.#registry];
    this.#outcomes = new Counter({
      name: 'siphon_layers_total',
      help: 'Layers that containerd asked for, by what became of them and why',
      labelNames: ['decision', 'reason'],
      registers,
    });
    this.#prepare = new Histogram({
      name: 'siphon_prepare_seconds',
      help: 'Time until a layer was ready, or known not to be had',
      labelNames: ['decision'],
      buckets: PREPARE_BUCKETS,
      registers,
    });
    this.#readWhenAsked();
  }

  /** From now on numbers are about these. */
  watch(watched: Watched): void {
    this.#watched = watched;
  }

  count({ decision, seconds }: LayerOutcome): void {
    this.#outcomes.inc({ decision: decision.way, reason: decision.reason });
    this.#prepare.observe({ decision: decision.way }, seconds);
  }

  /** In Prometheus' text format. */
  async metrics(): Promise<{ type: string; text: string }> {
    return { type: this.#registry.contentType, text: await this.#registry.metrics() };
  }

  async status(): Promise<ServiceStatus> {
    const { values } = await this.#outcomes.get();
    const { misses, failedReads, bytesRead } = this.#fuse();
    const registries = registryStatus();
    return {
      ...this.#facts,
      uptimeSeconds: (Date.now() - this.#started) / 1000,
      layers: await this.#layers(),
      counters: {
        layers: values.map(({ labels, value }) => ({
          decision: String(labels.decision),
          reason: String(labels.reason),
          count: value,
        })),
        registryRequests: sum(registries.map(({ requests }) => requests)),
        registryBytes: sum(registries.map(({ receivedBytes }) => receivedBytes)),
        registries,
        fetches: this.#fetches(),
        cache: this.#cache(),
        spansFetched: this.#watched?.open.fetchedSpans() ?? 0,
        readBytes: bytesRead,
        readsThatWaited: misses,
        readErrors: failedReads,
      },
    };
  }

  #readWhenAsked(): void {
    addRegistryMetrics(this.#registry);
    this.#total(
      'siphon_spans_fetched_total',
      'Spans verified and written to the cache',
      () => this.#watched?.open.fetchedSpans() ?? 0,
    );
    this.#total(
      'siphon_fuse_read_bytes_total',
      'Bytes of file contents handed to the kernel',
      () => this.#fuse().bytesRead,
    );
    this.#total(
      'siphon_fuse_misses_total',
      'Reads that had to wait for bytes that were not here',
      () => this.#fuse().misses,
    );
    this.#total(
      'siphon_read_errors_total',
      'Reads that failed with EIO',
      () => this.#fuse().failedReads,
    );
    this.#operations();
    this.#fetched('requests', 'Requests for the contents of layers, by why');
    this.#fetched('bytes', 'Bytes of the contents of layers that were asked for, by why');
    this.#gauges();
  }

  #gauges(): void {
    this.#gauge(
      'siphon_layers_served',
      'Layers in the FUSE mount',
      () => this.#watched?.open.numbers().length ?? 0,
    );
    this.#gauge(
      'siphon_layers_whole',
      'Layers in the FUSE mount that need no registry any more',
      () => this.#fill().whole,
    );
    this.#gauge(
      'siphon_layers_refused',
      'Layers in the FUSE mount that turned out not to be what they should be',
      () => this.#fill().refused,
    );
    this.#gauge(
      'siphon_fill_bytes',
      'Bytes of the blobs of layers in the FUSE mount that are here',
      () => this.#fill().present,
    );
    this.#gauge(
      'siphon_fill_wanted_bytes',
      'Bytes of the blobs of layers in the FUSE mount',
      () => this.#fill().wanted,
    );
    this.#gauge(
      'siphon_cache_bytes',
      'Disk space of what is kept of lazy layers',
      () => this.#cache().size,
    );
    this.#gauge(
      'siphon_large_files_bytes',
      'Disk space among it of large files that are kept apart',
      () => this.#cache().largeFiles,
    );
    this.#gauge('siphon_cache_limit_bytes', 'What that may take', () => this.#cache().limit);
    this.#total(
      'siphon_cache_evicted_bytes_total',
      'Bytes taken out of the cache',
      () => this.#cache().evictedBytes,
    );
    const queued: Gauge<'class'> = new Gauge({
      name: 'siphon_fetches_queued',
      help: 'Requests for the contents of layers that wait for their turn',
      labelNames: ['class'],
      registers: [this.#registry],
      collect: (): void => {
        for (const one of this.#fetches()) queued.set({ class: one.class }, one.queued);
      },
    });
  }

  #gauge(name: string, help: string, read: () => number): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect: (): void => gauge.set(read()),
    });
  }

  #fetched(what: 'requests' | 'bytes', help: string): void {
    const counter: Counter<'class'> = new Counter({
      name: `siphon_fetch_${what}_total`,
      help,
      labelNames: ['class'],
      registers: [this.#registry],
      collect: (): void => {
        counter.reset();
        for (const one of this.#fetches()) counter.inc({ class: one.class }, one[what]);
      },
    });
  }

  #total(name: string, help: string, read: () => number): void {
    const counter: Counter = new Counter({
      name,
      help,
      registers: [this.#registry],
      collect: (): void => {
        counter.reset();
        counter.inc(read());
      },
    });
  }

  #operations(): void {
    const counter: Counter<'operation'> = new Counter({
      name: 'siphon_fuse_requests_total',
      help: 'Requests of the kernel',
      labelNames: ['operation'],
      registers: [this.#registry],
      collect: (): void => {
        counter.reset();
        for (const [operation, count] of Object.entries(this.#fuse().requests))
          counter.inc({ operation }, count);
      },
    });
  }

  #fetches(): FetchStatus[] {
    const counts = this.#watched?.open.fetches();
    if (counts === undefined) return [];
    return Object.entries(counts).map(([of, numbers]) => ({ class: of, ...numbers }));
  }

  #cache(): CacheStatus {
    const limit = this.#watched?.open.cacheLimit;
    if (limit === undefined) return { size: 0, largeFiles: 0, limit: 0, evictedBytes: 0 };
    return {
      size: limit.size(),
      largeFiles: limit.largeFiles(),
      limit: limit.limit,
      evictedBytes: limit.evictedBytes,
    };
  }

  #fill(): { present: number; wanted: number; whole: number; refused: number } {
    const sum = { present: 0, wanted: 0, whole: 0, refused: 0 };
    const watched = this.#watched;
    for (const number of watched?.open.numbers() ?? []) {
      const size = watched?.layers.get(number).blobSize ?? 0;
      const { present = 0, isRefused = false } = watched?.open.filled(number) ?? {};
      sum.present += present;
      sum.wanted += size;
      sum.whole += present === size ? 1 : 0;
      sum.refused += isRefused ? 1 : 0;
    }
    return sum;
  }

  #fuse(): ReturnType<LayerServer['stats']> {
    const none = { requests: {}, misses: 0, failedReads: 0, bytesRead: 0 };
    return this.#watched?.server.stats() ?? none;
  }

  #layers(): Promise<ServedLayerStatus[]> {
    const watched = this.#watched;
    if (watched === undefined) return Promise.resolve([]);
    return Promise.all(watched.open.numbers().map((number) => layerStatus(number, watched)));
  }
}

async function layerStatus(
  number: number,
  { layers, content, open }: Watched,
): Promise<ServedLayerStatus> {
  const { blobDigest, blobSize, origin } = layers.get(number);
  const keptHere = await fileExists(content.path(blobDigest));
  const { present, isRefused } = open.filled(number);
  return {
    number,
    digest: blobDigest,
    decision: keptHere ? 'streamed' : 'lazy',
    size: blobSize,
    cachedBytes: open.usage(number).size,
    filledBytes: keptHere ? blobSize : present,
    servedFrom: isRefused
      ? 'nowhere'
      : keptHere
        ? 'disk'
        : origin.kind === 'registry'
          ? origin.host
          : origin.kind,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

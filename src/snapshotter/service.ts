/**
 * containerd's snapshots API over a {@link Snapshotter}: each rpc is one entry of a table; errors become
 * statuses in one place, where the unexpected is logged with its stack.
 */

import {
  type Metadata as CallMetadata,
  type ServerUnaryCall,
  type ServerWritableStream,
  type handleServerStreamingCall,
  type handleUnaryCall,
  status,
} from '@grpc/grpc-js';
import { once } from 'node:events';
import { SiphonError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type {
  ListSnapshotsRequest,
  ListSnapshotsResponse,
  SnapshotsServer,
} from '../generated/containerd/services/snapshots/v1/snapshots.js';
import type { Snapshotter } from './snapshotter.js';
import { statusOf } from './status.js';
import { infoOf } from './wire.js';

/** Snapshots in one message of List. */
const LIST_BATCH = 100;

export interface SnapshotsService {
  implementation: SnapshotsServer;
  /** Aborts the calls in flight and waits until their work has ended. */
  drain(): Promise<void>;
}

export function snapshotsService(snapshotter: Snapshotter, log: Logger): SnapshotsService {
  const calls = new Calls(log);
  const implementation: SnapshotsServer = {
    prepare: calls.unary('Prepare', async (request, signal) => ({
      mounts: await snapshotter.prepare(request, signal),
    })),
    view: calls.unary('View', async (request, signal) => ({
      mounts: await snapshotter.view(request, signal),
    })),
    mounts: calls.unary('Mounts', async ({ key }, signal) => ({
      mounts: await snapshotter.mounts(key, signal),
    })),
    commit: calls.unary('Commit', async (request) => {
      snapshotter.commit(request);
      return {};
    }),
    remove: calls.unary('Remove', async ({ key }) => {
      await snapshotter.remove(key);
      return {};
    }),
    stat: calls.unary('Stat', async ({ key }) => ({ info: infoOf(snapshotter.stat(key)) })),
    update: calls.unary('Update', async ({ info, updateMask }) => {
      if (info === undefined)
        throw new SiphonError('invalid', 'Cannot update a snapshot: info is missing');
      return { info: infoOf(snapshotter.update(info.name, info.labels, updateMask ?? [])) };
    }),
    list: calls.list((filters) => snapshotter.list(filters)),
    usage: calls.unary('Usage', async ({ key }, signal) => {
      const { size, inodes } = await snapshotter.usage(key, signal);
      return { size: BigInt(size), inodes: BigInt(inodes) };
    }),
    cleanup: calls.unary('Cleanup', async () => {
      await snapshotter.cleanup();
      return {};
    }),
  };
  return { implementation, drain: () => calls.drain() };
}

/** The calls in flight, and what is the same for all of them. */
class Calls {
  readonly #log: Logger;
  readonly #shutdown = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  unary<Request, Response>(
    method: string,
    handle: (request: Request, signal: AbortSignal) => Promise<Response>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      const work = async (): Promise<void> => {
        try {
          const response = await handle(call.request, this.#signal(call));
          callback(null, response);
        } catch (error) {
          callback(this.#failure(method, call, error));
        }
      };
      this.#track(work());
    };
  }

  list(
    select: (filters: string[]) => ReturnType<Snapshotter['list']>,
  ): handleServerStreamingCall<ListSnapshotsRequest, ListSnapshotsResponse> {
    return (call) => {
      const work = async (): Promise<void> => {
        try {
          const signal = this.#signal(call);
          const snapshots = select(call.request.filters);
          for (let start = 0; start < snapshots.length; start += LIST_BATCH) {
            const info = snapshots.slice(start, start + LIST_BATCH).map(infoOf);
            if (!call.write({ info })) await once(call, 'drain', { signal });
          }
          call.end();
        } catch (error) {
          call.emit('error', this.#failure('List', call, error));
        }
      };
      this.#track(work());
    };
  }

  async drain(): Promise<void> {
    this.#shutdown.abort(new SiphonError('unavailable', 'siphon is shutting down'));
    await Promise.all(this.#running);
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  /** Aborts when the client has gone, its deadline has passed, or the server stops. */
  #signal(call: Call): AbortSignal {
    const gone = new AbortController();
    const leave = (): void =>
      gone.abort(new SiphonError('cancelled', 'the client has cancelled the call'));
    if (call.cancelled) leave();
    call.on('cancelled', leave);
    return AbortSignal.any([gone.signal, this.#shutdown.signal]);
  }

  #failure(method: string, call: Call, error: unknown): ReturnType<typeof statusOf> {
    const failure = statusOf(error);
    const about = { method, namespace: namespaceOf(call.metadata), status: status[failure.code] };
    if (failure.code === status.INTERNAL)
      this.#log.error({ ...about, err: error }, `${method} failed`);
    else this.#log.debug(about, failure.details);
    return failure;
  }
}

type Call = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

function namespaceOf(metadata: CallMetadata): string | undefined {
  return metadata.get('containerd-namespace')[0]?.toString();
}

/**
 * A containerd, reached at its unix socket: its services in one namespace, calls as promises that end
 * by signal or deadline, and failures as {@link SiphonError}s.
 */

import {
  type CallOptions,
  type ClientUnaryCall,
  Metadata,
  type ServiceError,
  credentials,
} from '@grpc/grpc-js';
import { stat } from 'node:fs/promises';
import { SiphonError, systemCode } from '../common/errors.js';
import { ContentClient } from '../generated/containerd/services/content/v1/content.js';
import { DiffClient } from '../generated/containerd/services/diff/v1/diff.js';
import { ImagesClient } from '../generated/containerd/services/images/v1/images.js';
import { IntrospectionClient } from '../generated/containerd/services/introspection/v1/introspection.js';
import { LeasesClient } from '../generated/containerd/services/leases/v1/leases.js';
import { SnapshotsClient } from '../generated/containerd/services/snapshots/v1/snapshots.js';
import { failureOf } from './failure.js';

export interface ContainerdAddress {
  /** Path of the socket. */
  address: string;
  namespace: string;
}

export interface CallContext {
  /** What the call is for, after "Cannot": `create a lease`. */
  purpose: string;
  /** Absent for what must be done whatever happens. */
  signal?: AbortSignal;
  /** Milliseconds; default {@link shortCall}. */
  timeout?: number;
}

/** A call that only looks something up or notes it down, in milliseconds. */
const shortCall = 30_000;
/** A call that may move a whole layer. */
export const longCall = 60 * 60_000;

type Start<T> = (
  metadata: Metadata,
  options: Partial<CallOptions>,
  done: (error: ServiceError | null, response: T) => void,
) => ClientUnaryCall;

export class Connection implements Disposable {
  readonly address: string;
  /** Goes with every call; a lease that is set here holds all that the calls make. */
  readonly metadata = new Metadata();
  readonly content: ContentClient;
  readonly diff: DiffClient;
  readonly images: ImagesClient;
  readonly introspection: IntrospectionClient;
  readonly leases: LeasesClient;
  readonly snapshots: SnapshotsClient;

  /** @throws SiphonError `not-found` where there is no socket; that nobody listens shows at a call */
  static async open(at: ContainerdAddress): Promise<Connection> {
    await requireSocket(at.address);
    return new Connection(at);
  }

  private constructor({ address, namespace }: ContainerdAddress) {
    this.address = address;
    this.metadata.set('containerd-namespace', namespace);
    const target = [`unix:${address}`, credentials.createInsecure()] as const;
    this.content = new ContentClient(...target);
    this.diff = new DiffClient(...target);
    this.images = new ImagesClient(...target);
    this.introspection = new IntrospectionClient(...target);
    this.leases = new LeasesClient(...target);
    this.snapshots = new SnapshotsClient(...target);
  }

  /** @throws SiphonError for the status that containerd answers with; `signal`'s reason */
  call<T>(context: CallContext, start: Start<T>): Promise<T> {
    const { signal, timeout = shortCall } = context;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(interrupted(context));
      const cancel = (): void => running.cancel();
      const deadline = Date.now() + timeout;
      const running = start(this.metadata, { deadline }, (error, response) => {
        signal?.removeEventListener('abort', cancel);
        if (error === null) resolve(response);
        else reject(this.failure(error, context));
      });
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** What a failed call means to its caller. */
  failure(error: unknown, { purpose, signal }: CallContext): Error {
    if (signal?.aborted) return interrupted({ purpose, signal });
    return failureOf(error, purpose, this.address);
  }

  [Symbol.dispose](): void {
    const { content, diff, images, introspection, leases, snapshots } = this;
    for (const client of [content, diff, images, introspection, leases, snapshots]) client.close();
  }
}

/** Whoever aborts may say why. */
function interrupted({ purpose, signal }: CallContext): Error {
  const reason: unknown = signal?.reason;
  if (reason instanceof SiphonError) return reason;
  return new SiphonError('cancelled', `Cannot ${purpose}: interrupted`, { cause: reason });
}

async function requireSocket(address: string): Promise<void> {
  const there = await stat(address).catch((error: unknown) => {
    const problem = systemCode(error) === 'ENOENT' ? 'there is nothing' : String(systemCode(error));
    throw unreachable(address, problem, error);
  });
  if (!there.isSocket()) throw unreachable(address, 'it is no socket');
}

function unreachable(address: string, problem: string, cause?: unknown): SiphonError {
  const message = `Cannot reach containerd at "${address}": ${problem}, expected the socket of a running containerd`;
  return new SiphonError('not-found', message, {
    hint: 'Usually that is /run/containerd/containerd.sock.',
    cause,
  });
}

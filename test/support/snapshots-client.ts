/** containerd's snapshots API as promises, against any socket that speaks it. */

import { Metadata, type ServiceError, credentials } from '@grpc/grpc-js';
import {
  type Info,
  type ListSnapshotsResponse,
  SnapshotsClient,
} from '#src/generated/containerd/services/snapshots/v1/snapshots.js';
import type { Mount } from '#src/generated/containerd/types/mount.js';

export interface Target {
  address: string;
  /** Name of the snapshotter behind containerd's own socket; a plugin's socket ignores it. */
  snapshotter: string;
  namespace: string;
}

export type Labels = Record<string, string>;

export interface Snapshots {
  prepare(key: string, parent?: string, labels?: Labels, signal?: AbortSignal): Promise<Mount[]>;
  view(key: string, parent?: string, labels?: Labels): Promise<Mount[]>;
  mounts(key: string): Promise<Mount[]>;
  commit(name: string, key: string, labels?: Labels, parent?: string): Promise<void>;
  remove(key: string): Promise<void>;
  stat(key: string): Promise<Info>;
  update(name: string, labels: Labels, paths?: string[]): Promise<Info>;
  list(...filters: string[]): Promise<Info[]>;
  /** The messages of one List as they arrive. */
  listBatches(...filters: string[]): AsyncIterable<Info[]>;
  usage(key: string): Promise<{ size: number; inodes: number }>;
  cleanup(): Promise<void>;
  close(): void;
}

/** Without it, containerd's garbage collector takes snapshots that nothing refers to. */
const keep: Labels = { 'containerd.io/gc.root': 'test' };

export function connectSnapshots({ address, snapshotter, namespace }: Target): Snapshots {
  const client = new SnapshotsClient(`unix:${address}`, credentials.createInsecure(), {
    // A connection of its own, as every process has one.
    'grpc.use_local_subchannel_pool': 1,
  });
  const header = new Metadata();
  header.set('containerd-namespace', namespace);
  const listBatches = async function* (...filters: string[]): AsyncIterable<Info[]> {
    const messages: AsyncIterable<ListSnapshotsResponse> = client.list(
      { snapshotter, filters },
      header,
    );
    for await (const { info } of messages) yield info;
  };
  const common = { snapshotter };
  return {
    async prepare(key, parent = '', labels = {}, signal) {
      const request = { ...common, key, parent, labels: { ...keep, ...labels } };
      const { mounts } = await call<{ mounts: Mount[] }>((done) => {
        const running = client.prepare(request, header, done);
        signal?.addEventListener('abort', () => running.cancel());
      });
      return mounts;
    },
    async view(key, parent = '', labels = {}) {
      const request = { ...common, key, parent, labels: { ...keep, ...labels } };
      return (await call<{ mounts: Mount[] }>((done) => client.view(request, header, done))).mounts;
    },
    async mounts(key) {
      return (
        await call<{ mounts: Mount[] }>((done) => client.mounts({ ...common, key }, header, done))
      ).mounts;
    },
    async commit(name, key, labels = {}, parent = '') {
      const request = { ...common, name, key, labels: { ...keep, ...labels }, parent };
      await call((done) => client.commit(request, header, done));
    },
    async remove(key) {
      await call((done) => client.remove({ ...common, key }, header, done));
    },
    async stat(key) {
      return present(
        (await call<{ info?: Info }>((done) => client.stat({ ...common, key }, header, done))).info,
      );
    },
    async update(name, labels, paths) {
      const info = {
        name,
        labels,
        parent: '',
        kind: 0,
        createdAt: undefined,
        updatedAt: undefined,
      } as const;
      const request = { ...common, info, updateMask: paths };
      return present(
        (await call<{ info?: Info }>((done) => client.update(request, header, done))).info,
      );
    },
    async list(...filters) {
      const found: Info[] = [];
      for await (const batch of listBatches(...filters)) found.push(...batch);
      return found;
    },
    listBatches,
    async usage(key) {
      const usage = await call<{ size: bigint; inodes: bigint }>((done) =>
        client.usage({ ...common, key }, header, done),
      );
      return { size: Number(usage.size), inodes: Number(usage.inodes) };
    },
    async cleanup() {
      await call((done) => client.cleanup(common, header, done));
    },
    close: () => client.close(),
  };
}

type Done<T> = (error: ServiceError | null, response: T) => void;

function call<T = unknown>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, response) => {
      if (error === null) resolve(response);
      else reject(error);
    });
  });
}

function present(info: Info | undefined): Info {
  if (info === undefined) throw new Error('the answer holds no info');
  return info;
}

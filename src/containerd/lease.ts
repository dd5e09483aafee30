/** A lease for the time of a pull: what is made under it is kept until an image refers to it. */

import { randomBytes } from 'node:crypto';
import type { Connection } from './connection.js';

/** A lease whose owner was killed ends by itself. */
const LIFETIME = 24 * 60 * 60_000;

export class Lease {
  readonly #connection: Connection;
  readonly #id: string;

  /** Creates a lease that from then on goes with every call of `connection`. */
  static async create(connection: Connection, signal: AbortSignal): Promise<Lease> {
    const id = `siphon-${Date.now()}-${randomBytes(4).toString('hex')}`;
    const labels = { 'containerd.io/gc.expire': new Date(Date.now() + LIFETIME).toISOString() };
    const purpose = 'create a lease';
    await connection.call({ purpose, signal }, (metadata, options, done) =>
      connection.leases.create({ id, labels }, metadata, options, done),
    );
    connection.metadata.set('containerd-lease', id);
    return new Lease(connection, id);
  }

  private constructor(connection: Connection, id: string) {
    this.#connection = connection;
    this.#id = id;
  }

  /** Holds a snapshot that was there before. */
  async holdSnapshot(snapshotter: string, name: string, signal: AbortSignal): Promise<void> {
    const connection = this.#connection;
    const resource = { id: name, type: `snapshots/${snapshotter}` };
    const purpose = `keep snapshot "${name}"`;
    await connection.call({ purpose, signal }, (metadata, options, done) =>
      connection.leases.addResource({ id: this.#id, resource }, metadata, options, done),
    );
  }

  /** @param collect whether to wait until what nothing else holds is gone */
  async delete(collect: boolean): Promise<void> {
    const connection = this.#connection;
    connection.metadata.remove('containerd-lease');
    const request = { id: this.#id, sync: collect };
    await connection.call({ purpose: 'delete a lease' }, (metadata, options, done) =>
      connection.leases.delete(request, metadata, options, done),
    );
  }
}

/**
 * What the metadata says of each snapshot, once more in the snapshot's own folder, so that a damaged
 * metadata file costs nothing but itself. The metadata is right while it can be read: a description
 * follows each change, is brought into line at every start, and is read for a rebuild only. It is not
 * synced: a power cut may take those of the last seconds, which matters where the metadata goes too.
 */

import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Snapshot } from './snapshot.js';

const FILE = 'snapshot.json';

const nanoseconds = z.string().regex(/^\d{1,19}$/);
const descriptionSchema = z.strictObject({
  name: z.string().min(1),
  parent: z.string(),
  kind: z.enum(['view', 'active', 'committed']),
  createdAt: nanoseconds,
  updatedAt: nanoseconds,
  labels: z.record(z.string(), z.string()),
  lazyNumber: z.number().int().positive().optional(),
});

export interface Described {
  snapshots: Snapshot[];
  /** Names of folders that say nothing that can be understood. */
  unreadable: string[];
}

export class Descriptions {
  readonly #directory: string;
  readonly #log: Logger;

  /** @param directory holds a folder for each snapshot, named by its id */
  constructor(directory: string, log: Logger) {
    this.#directory = directory;
    this.#log = log;
  }

  /** Describes a snapshot as it is now; makes its folder where it has none. Failures are logged only. */
  write(snapshot: Snapshot): void {
    const folder = join(this.#directory, String(snapshot.id));
    const path = join(folder, FILE);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      writeFileSync(`${path}.new`, textOf(snapshot), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      const { name } = snapshot;
      this.#log.warn({ name, err: error }, `snapshot is not described: ${errorMessage(error)}`);
    }
  }

  /** Brings all descriptions into line with what the metadata says. */
  align(snapshots: readonly Snapshot[]): void {
    for (const snapshot of snapshots)
      if (this.#text(String(snapshot.id)) !== textOf(snapshot)) this.write(snapshot);
  }

  /** All that the folders say, lowest id first. @throws the system error where they cannot be listed */
  readAll(): Described {
    const described: Described = { snapshots: [], unreadable: [] };
    for (const folder of readdirSync(this.#directory)) {
      const snapshot = parse(Number(folder), this.#text(folder));
      if (snapshot === undefined) described.unreadable.push(folder);
      else described.snapshots.push(snapshot);
    }
    described.snapshots.sort((a, b) => a.id - b.id);
    return described;
  }

  #text(folder: string): string | undefined {
    try {
      return readFileSync(join(this.#directory, folder, FILE), 'utf8');
    } catch {
      return undefined;
    }
  }
}

/** All but the id, which the folder is named by. */
function textOf({ name, parent, kind, labels, lazyNumber, ...times }: Snapshot): string {
  const createdAt = String(times.createdAt);
  const updatedAt = String(times.updatedAt);
  const said = { name, parent, kind, createdAt, updatedAt, labels, lazyNumber };
  return `${JSON.stringify(said)}\n`;
}

function parse(id: number, text: string | undefined): Snapshot | undefined {
  if (text === undefined || !Number.isSafeInteger(id) || id < 1) return undefined;
  try {
    const { createdAt, updatedAt, lazyNumber, ...rest } = descriptionSchema.parse(JSON.parse(text));
    const times = { createdAt: BigInt(createdAt), updatedAt: BigInt(updatedAt) };
    return { id, ...rest, ...times, lazyNumber };
  } catch {
    return undefined;
  }
}

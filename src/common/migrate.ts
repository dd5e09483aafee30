/**
 * Brings the tables of a database to this program's version, by numbered steps: `PRAGMA user_version`
 * holds how many are taken. A step that was released is never changed, only followed by another.
 */

import type { Database } from 'better-sqlite3';
import { SiphonError } from './errors.js';

export interface Migrations {
  /** What the database is, for people. */
  name: string;
  /** SQL, in the order in which it is run. */
  steps: readonly string[];
}

/**
 * Takes the steps that are missing, all or none; where there are none, nothing is written.
 * @throws SiphonError `unsupported` where a newer program wrote the tables; SqliteError
 */
export function migrate(database: Database, { name, steps }: Migrations): void {
  const take = database.transaction(() => {
    // Another process may have taken them meanwhile.
    for (const step of steps.slice(stepsTaken(database))) database.exec(step);
    database.pragma(`user_version = ${steps.length}`);
  });
  const taken = stepsTaken(database);
  if (taken > steps.length) {
    throw new SiphonError(
      'unsupported',
      `Cannot open ${name} "${database.name}": it has version ${taken}, expected at most ${steps.length}`,
      { hint: 'A newer siphon wrote it; start that one.' },
    );
  }
  if (taken < steps.length) take.immediate();
}

function stepsTaken(database: Database): number {
  return Number(database.pragma('user_version', { simple: true }));
}

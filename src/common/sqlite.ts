/**
 * SQLite, by the build of better-sqlite3 that suits the running Node. Version 12 is for Node 20; from
 * Node 24.19 on it ends the process when a statement is collected outside of JavaScript (its objects
 * are `node::ObjectWrap`s, whose end then looks for a context that is not there). Version 13, installed
 * as `better-sqlite3-napi`, is free of that and needs Node-API 10, which no Node 20 has.
 */

import { createRequire } from 'node:module';
import type BetterSqlite3 from 'better-sqlite3';

const NODE_API_OF_VERSION_13 = 10;

/** Opens database files: `new Sqlite(path, options)`. Types come from `better-sqlite3` itself. */
export const Sqlite = load();

function load(): typeof BetterSqlite3 {
  const require = createRequire(import.meta.url);
  const hasNodeApi = Number(process.versions.napi) >= NODE_API_OF_VERSION_13;
  const loaded: unknown = hasNodeApi ? require('better-sqlite3-napi') : require('better-sqlite3');
  return loaded as typeof BetterSqlite3; // both versions have the interface that the types describe
}

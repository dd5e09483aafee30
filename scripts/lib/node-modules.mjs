/**
 * node_modules as package-lock.json wants it. What is installed is told from npm's own record
 * (`node_modules/.package-lock.json`) and not from file times, which say nothing after a checkout.
 */

import { existsSync, readFileSync } from 'node:fs';
import { Failure } from './failure.mjs';
import { prefixWithHeaders } from './node-prefix.mjs';
import { capture, show } from './run.mjs';
import { inTree } from './tree.mjs';

/** @typedef {Record<string, { version?: string, optional?: boolean, link?: boolean }>} LockedPackages */

/** Whether `npm ci` has something to do. */
export function nodeModulesAreStale() {
  const installed = lockedPackages(inTree('node_modules/.package-lock.json'));
  if (installed === undefined) return true;
  const wanted = lockedPackages(inTree('package-lock.json')) ?? {};
  return Object.entries(wanted).some(
    ([path, { version, optional }]) =>
      path !== '' && installed[path]?.version !== version && !(optional && !installed[path]),
  );
}

/** Runs `npm ci`; with the running Node's own headers, where it has them, nothing else is fetched. */
export async function installNodeModules() {
  console.log('Installing node_modules (npm ci)');
  await npm(['ci', '--no-audit', '--no-fund']);
}

/** What src/common/sqlite.ts takes: a prebuilt module where Node has what it needs, else a compiled one. */
const PREBUILT_SQLITE = Number(process.versions.napi) >= 10;

/** Whether the native modules load; those installed for another Node may not. */
export async function nativeModulesLoad() {
  const name = PREBUILT_SQLITE ? 'better-sqlite3-napi' : 'better-sqlite3';
  const probe = `new (require('${name}'))(':memory:').close()`;
  return (await capture(process.execPath, ['-e', probe])).code === 0;
}

/** Installs or compiles the native modules that the running Node needs. */
export async function fitNativeModules() {
  console.log(`Fitting the native modules to Node ${process.versions.node}`);
  if (PREBUILT_SQLITE) await npm(['install', '--no-save', '--no-audit', '--no-fund']);
  else await npm(['rebuild', 'better-sqlite3']);
}

/** @param {readonly string[]} args */
async function npm(args) {
  const [command, first] = npmCommand();
  const code = await show(command, [...first, ...args], { env: npmEnvironment() });
  if (code !== 0) throw new Failure(`Cannot run "npm ${args.join(' ')}": exit code ${code}`);
}

/** The npm that started this script, else the one on the path. @returns {[string, string[]]} */
function npmCommand() {
  const started = process.env['npm_execpath'];
  const usable = started !== undefined && /\bnpm-cli\.c?js$/.test(started) && existsSync(started);
  return usable ? [process.execPath, [started]] : ['npm', []];
}

function npmEnvironment() {
  const prefix = prefixWithHeaders();
  const quiet = { npm_config_update_notifier: 'false' };
  return {
    ...process.env,
    ...quiet,
    ...(prefix === undefined ? {} : { npm_config_nodedir: prefix }),
  };
}

/**
 * @param {string} path
 * @returns {LockedPackages | undefined}
 */
function lockedPackages(path) {
  if (!existsSync(path)) return undefined;
  const lock = /** @type {{ packages: LockedPackages }} */ (JSON.parse(readFileSync(path, 'utf8')));
  return lock.packages;
}

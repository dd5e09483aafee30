/**
 * For `node --import`: copies a folder (STEPS_OF) before every step that changes it, to STEPS_TO/<n>: what
 * a kill at this moment would leave, for what a process has written is the kernel's. A step is a call
 * that changes the file system, or a statement of SQLite that takes effect by itself or ends a transaction.
 * Steps count from `globalThis.beginSteps()`; after `globalThis.answered()` names end in `-answered`.
 */

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const { STEPS_OF: from, STEPS_TO: to } = process.env;
let step = -1;
let suffix = '';

globalThis.beginSteps = () => {
  step = 0;
};

globalThis.answered = () => {
  suffix = '-answered';
};

function countStep() {
  if (step < 0) return;
  step += 1;
  execFileSync('cp', ['-a', from, `${to}/${step}${suffix}`]);
}

function wrap(object, names) {
  for (const name of names) {
    const original = object[name];
    object[name] = function (...args) {
      countStep();
      return original.apply(this, args);
    };
  }
}

function wrapSqlite() {
  const require = createRequire(import.meta.url);
  const hasNodeApi = Number(process.versions.napi) >= 10;
  const Sqlite = require(hasNodeApi ? 'better-sqlite3-napi' : 'better-sqlite3');
  const database = new Sqlite(':memory:');
  const prototype = Object.getPrototypeOf(database.prepare('SELECT 1'));
  const { run } = prototype;
  prototype.run = function (...args) {
    if (!this.database.inTransaction || this.source.startsWith('COMMIT')) countStep();
    return run.apply(this, args);
  };
  database.close();
}

if (isMainThread) {
  const changing = ['mkdir', 'mkdtemp', 'rename', 'rm', 'open', 'writeFile', 'chmod', 'chown'];
  wrap(fs.promises, changing);
  wrap(fs, [
    'mkdirSync',
    'renameSync',
    'rmSync',
    'writeFileSync',
    'writeSync',
    'createWriteStream',
  ]);
  syncBuiltinESMExports();
  wrapSqlite();
}

/** One run of vitest: started, bounded in time, its report counted. */

import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { RUN_MARK, sweep } from './leftovers.mjs';
import { root, tool } from './tree.mjs';

/**
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 * @typedef {{ status: string, assertionResults: { status: string }[] }} FileResult
 */

/** A run that takes longer is stuck: it is ended and counts as failed. */
const LONGEST_RUN_MS = 30 * 60_000;
const KILL_AFTER_MS = 15_000;

/**
 * Runs the tests that `filters` select (all where empty) with a temporary folder of their own.
 * Whatever is left behind is named, removed and counted as a failure.
 * @param {readonly string[]} filters vitest's own arguments
 * @returns {Promise<Counts>}
 */
export async function runVitest(filters) {
  const folder = mkdtempSync(join(tmpdir(), 'st-'));
  chmodSync(folder, 0o755); // tests that drop to another user reach their files through it
  const report = join(folder, 'report.json');
  const code = await vitest(filters, { folder, report });
  const counts = existsSync(report) ? count(report) : { passed: 0, failed: 0, skipped: 0 };
  const left = await sweep(folder);
  for (const line of left) console.log(line);
  const unexplained = code !== 0 && counts.failed === 0 ? 1 : 0;
  return { ...counts, failed: counts.failed + left.length + unexplained };
}

/**
 * @param {readonly string[]} filters
 * @param {{ folder: string, report: string }} places
 * @returns {Promise<number>}
 */
function vitest(filters, { folder, report }) {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const child = spawn(tool('vitest'), ['run', ...reporters, ...filters], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: programPath(), TMPDIR: folder, [RUN_MARK]: folder },
  });
  const stop = () => endSoon(child);
  const deadline = setTimeout(() => {
    console.log(`The tests did not end within ${LONGEST_RUN_MS / 60_000} minutes`);
    stop();
  }, LONGEST_RUN_MS);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stop);
  return new Promise((resolve) => {
    child.once('error', () => resolve(127));
    child.once('close', (code) => resolve(code ?? 128));
  }).finally(() => clearTimeout(deadline));
}

/** The Node that runs this also runs the tests and what they start. */
function programPath() {
  return `${dirname(process.execPath)}${delimiter}${process.env['PATH'] ?? ''}`;
}

/** @param {import('node:child_process').ChildProcess} child */
function endSoon(child) {
  child.kill('SIGTERM');
  setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS).unref();
}

/**
 * A file that failed outside of its tests counts as one failure.
 * @param {string} report path of vitest's JSON report
 * @returns {Counts}
 */
function count(report) {
  const { testResults: files } = readReport(report);
  const statuses = files.flatMap((file) => file.assertionResults.map((test) => test.status));
  const failedTests = statuses.filter((status) => status === 'failed').length;
  const brokenFiles = files.filter(
    (file) =>
      file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const passed = statuses.filter((status) => status === 'passed').length;
  return {
    passed,
    failed: failedTests + brokenFiles,
    skipped: statuses.length - passed - failedTests,
  };
}

/**
 * @param {string} path
 * @returns {{ testResults: FileResult[] }}
 */
function readReport(path) {
  return /** @type {{ testResults: FileResult[] }} */ (JSON.parse(readFileSync(path, 'utf8')));
}

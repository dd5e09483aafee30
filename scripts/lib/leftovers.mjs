/**
 * What a test run left behind. Everything a run starts carries its mark: processes have it in their
 * environment, or see a mount below the run's temporary folder; mounts name that folder as their place
 * or in their options.
 */

import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { capture } from './run.mjs';

export const RUN_MARK = 'SIPHON_TEST_RUN';
/** On a busy machine: what ends by itself is nothing left, however long it takes. */
const GRACE_MS = 20_000;
const POLL_MS = 200;

/**
 * Gives the run's processes a moment to end, then ends and unmounts what is still there.
 * @param {string} folder the run's temporary folder, which also is its mark
 * @param {number} grace milliseconds
 * @returns {Promise<string[]>} one line for each thing left
 */
export async function sweep(folder, grace = GRACE_MS) {
  const end = Date.now() + grace;
  while (Date.now() < end && (mountsOf(folder).length > 0 || processesOf(folder).length > 0)) {
    await sleep(POLL_MS);
  }
  const processes = processesOf(folder);
  const mounts = mountsOf(folder);
  for (const { pid } of processes) endProcess(pid);
  for (const { point } of mounts.toReversed()) await capture('umount', ['-l', point]);
  if (mountsOf(folder).length === 0) rmSync(folder, { recursive: true, force: true });
  return [
    ...mounts.map(({ type, point }) => `mount left: ${type} on ${point}`),
    ...processes.map(({ pid, command }) => `process left: ${pid} ${command}`),
  ];
}

/** @param {string} folder */
function mountsOf(folder) {
  return mountTable('self')
    .filter((line) => line.includes(folder))
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      return { point: unescapeOctal(before.split(' ')[4] ?? ''), type: after.split(' ')[0] ?? '' };
    });
}

/** @param {string} folder */
function processesOf(folder) {
  const own = mountTable('self').join('\n');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => isMarked(pid, folder, own))
    .map((pid) => ({ pid: Number(pid), command: commandOf(pid) }));
}

/**
 * @param {string} pid
 * @param {string} folder
 * @param {string} own mount table of this process; who shares it tells nothing by it
 */
function isMarked(pid, folder, own) {
  if (read(`/proc/${pid}/environ`).split('\0').includes(`${RUN_MARK}=${folder}`)) return true;
  const table = mountTable(pid).join('\n');
  return table !== own && table.includes(folder);
}

/** @param {string} pid */
function mountTable(pid) {
  return read(`/proc/${pid}/mountinfo`).split('\n').filter(Boolean);
}

/** @param {string} pid */
function commandOf(pid) {
  return (
    read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() || read(`/proc/${pid}/comm`).trim()
  );
}

/** @param {number} pid */
function endProcess(pid) {
  if (!existsSync(`/proc/${pid}`)) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended in between.
  }
}

/** The file's text, empty where the process has ended. @param {string} path */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** mountinfo writes blanks as \040. @param {string} text */
function unescapeOctal(text) {
  return text.replace(/\\[0-7]{3}/g, (escape) => String.fromCharCode(parseInt(escape.slice(1), 8)));
}

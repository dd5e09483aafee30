/** Programs started by the scripts: shown as they run, or captured. */

import { spawn } from 'node:child_process';
import { root } from './tree.mjs';

/**
 * @typedef {{ env?: NodeJS.ProcessEnv, cwd?: string, signal?: AbortSignal }} RunOptions
 * @typedef {{ code: number, output: string }} Captured
 */

/**
 * Runs a program on this terminal; the result is its exit code, 128+n where a signal ended it, 127
 * where it cannot be started.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {RunOptions} [options]
 * @returns {Promise<number>}
 */
export function show(command, args, options = {}) {
  const child = spawn(command, args, { cwd: root, ...options, stdio: 'inherit' });
  return exitCode(child);
}

/**
 * Runs a program and keeps what it prints on both streams.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {RunOptions} [options]
 * @returns {Promise<Captured>}
 */
export async function capture(command, args, options = {}) {
  const child = spawn(command, args, { cwd: root, ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (output += text));
  }
  const code = await exitCode(child);
  return { code, output: code === 127 && output === '' ? `cannot run ${command}` : output };
}

/**
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<number>}
 */
function exitCode(child) {
  return new Promise((resolve) => {
    child.once('error', () => resolve(127));
    child.once('close', (code, signal) => resolve(code ?? 128 + signalNumber(signal)));
  });
}

/** @param {NodeJS.Signals | null} signal */
function signalNumber(signal) {
  return signal === 'SIGKILL' ? 9 : signal === 'SIGINT' ? 2 : 15;
}

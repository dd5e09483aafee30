/**
 * The program: the compiled modules and the packages that they use, in a few files, since a program that
 * is started often should not look for some hundreds. All lie in one folder, the modules of threads by
 * their own names beside the rest, so that `new URL('./some-worker.js', import.meta.url)` finds in the
 * program what it finds among the modules.
 */

import { rmSync } from 'node:fs';
import { basename } from 'node:path';
import { Failure } from './failure.mjs';
import { filesBelow } from './files.mjs';
import { inTree } from './tree.mjs';

/** Packages with a binary of their own, which is found beside them. */
const NATIVE = ['better-sqlite3', 'better-sqlite3-napi', 'fuse-native', 'koffi'];

/**
 * V8 keeps the text of what it has loaded, with two bytes for each character once one of them needs two: so no
 * comments but those of licences, and no such characters. Lines stay, for those who read a stack.
 * @type {import('rolldown').OutputOptions}
 */
const SMALL_TEXT = {
  comments: { legal: true, annotation: false, jsdoc: false },
  minify: {
    compress: false,
    mangle: false,
    codegen: { removeWhitespace: false, asciiOnly: true },
  },
};

/** Makes `dist/program` of what is compiled in `dist`. */
export async function bundle() {
  const dir = inTree('dist/program');
  rmSync(dir, { recursive: true, force: true });
  // The scripts are loaded before the packages are installed.
  const { rolldown } = await import('rolldown');
  const made = await rolldown({ input: entries(), platform: 'node', external: NATIVE });
  await made.write({
    dir,
    format: 'esm',
    sourcemap: true,
    chunkFileNames: '[name]-[hash].js',
    ...SMALL_TEXT,
  });
  await made.close();
}

/**
 * By its name in the program: what the command starts, and what every thread does.
 * @returns {Record<string, string>}
 */
function entries() {
  const workers = filesBelow('src').filter((file) => /(^|[/-])worker\.ts$/.test(file));
  /** @type {Record<string, string>} */
  const named = {};
  for (const file of ['src/cli/main.ts', ...workers]) {
    const module = file.replace(/^src/, 'dist').replace(/\.ts$/, '.js');
    const name = basename(module, '.js');
    if (name in named) throw new Failure(`Cannot bundle "${file}": another module has its name`);
    named[name] = inTree(module);
  }
  return named;
}

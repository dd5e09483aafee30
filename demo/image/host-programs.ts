/** Programs of this machine with all that they load, as entries of an image. */

import { execFile } from 'node:child_process';
import { lstatSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Entry, directory, file, hostFile, symlink } from './entry.js';

const run = promisify(execFile);
const TOP_FOLDERS = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'];

/** Where a program lies here (absolute) and where it goes in the image (relative). */
export interface ProgramPlan {
  from: string;
  to: string;
}

/**
 * The links that make `/bin`, `/lib`, … what they are here (`usr/bin`, …), with the folders they lead
 * to, so that paths stay the same.
 */
export function topLevelLinks(): Entry[] {
  return TOP_FOLDERS.filter(isLinkHere).flatMap((name) => {
    const target = readlinkSync(`/${name}`);
    return [symlink(name, target), directory(target.replace(/^\//, ''))];
  });
}

function isLinkHere(name: string): boolean {
  return lstatSync(`/${name}`, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

/** The program `name` from this machine's path, put where it lies here; `undefined` where there is none. */
export function findProgram(name: string): ProgramPlan | undefined {
  const folders = `${process.env['PATH'] ?? ''}:/usr/bin:/bin`.split(delimiter);
  const found = folders
    .map((folder) => join(folder, name))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  if (found === undefined) return undefined;
  return { from: realpathSync(found), to: `usr/bin/${name}` };
}

export function programEntry({ from, to }: ProgramPlan, mode = 0o755): Entry {
  return file(to, hostFile(from, statSync(from).size), { mode });
}

/**
 * The dynamic loader and the libraries of `programs`, without duplicates, sorted; a static program
 * has none.
 */
export async function libraryEntries(programs: readonly string[]): Promise<Entry[]> {
  const lists = await Promise.all(programs.map(libraryPaths));
  return [...new Set(lists.flat())]
    .sort()
    .map((path) => programEntry({ from: path, to: inRealFolder(path).slice(1) }));
}

/** Lines of ldd are `name => /path (address)`, or `/path (address)` for the loader. */
async function libraryPaths(program: string): Promise<string[]> {
  try {
    const { stdout } = await run('ldd', [program]);
    return [...stdout.matchAll(/(?:=>|^)\s*(\/\S+)\s+\(0x/gm)].map((match) => match[1] ?? '');
  } catch {
    return []; // ldd fails for what is not dynamic
  }
}

/** `path` with the links among its folders followed, its own name kept. */
function inRealFolder(path: string): string {
  return join(realpathSync(dirname(path)), basename(path));
}

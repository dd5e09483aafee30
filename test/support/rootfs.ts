/** Small root filesystems for containers and image layers, made of this machine's own programs. */

import { execFile } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Puts `programs` of this machine (absolute paths, links followed) with their shared libraries into
 * `directory`, at the same paths, and `files` (path → text) besides.
 * @returns every path written, relative to `directory`
 */
export async function makeRootfs(
  directory: string,
  programs: readonly string[],
  files: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const libraries = await Promise.all(programs.map(sharedLibraries));
  const copied = [...new Set([...programs, ...libraries.flat()])];
  for (const path of copied) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await copyFile(path, join(directory, path));
  }
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
  return [...copied, ...Object.keys(files)].map((path) => path.replace(/^\/+/, ''));
}

/** Absolute paths as the dynamic loader finds them; empty for scripts and static programs. */
async function sharedLibraries(program: string): Promise<string[]> {
  try {
    const { stdout } = await run('ldd', [program]);
    return [...stdout.matchAll(/(?:=>\s*|^\s+)(\/\S+)/gm)].map((match) => match[1] ?? '');
  } catch {
    return [];
  }
}

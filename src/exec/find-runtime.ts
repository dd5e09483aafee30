import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { SiphonError } from '../common/errors.js';

/** Where distributions put runtimes and a plain PATH may not lead. */
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin'];

/**
 * The absolute path of an OCI runtime.
 * @param name of a program on PATH or in the system's folders, or a path
 * @throws SiphonError `not-found` with the package to install
 */
export async function findRuntime(name: string, path = process.env.PATH ?? ''): Promise<string> {
  const folders = name.includes('/') ? [''] : [...path.split(':'), ...SYSTEM_FOLDERS];
  for (const folder of folders) {
    const candidate = folder === '' ? name : join(folder, name);
    if (candidate.includes('/') && (await isExecutable(candidate))) return candidate;
  }
  throw new SiphonError(
    'not-found',
    `Cannot run containers: there is no runtime "${name}" on this machine, expected runc or crun`,
    { hint: `Install it, on Debian with: apt-get install ${name === 'crun' ? 'crun' : 'runc'}` },
  );
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

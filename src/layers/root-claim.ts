/** A root, as one service has it to itself. Other commands may share it; see {@link LayerStore}. */

import { accessSync, closeSync, constants, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { tryLockFile } from '../ffi/libc.js';

/** Makes the root where it is missing. @throws SiphonError `permission` where it cannot be written */
export function requireWritableRoot(root: string): void {
  try {
    // First, for a folder that cannot be made by mkdir is not there, whatever the reason.
    accessSync(nearestFolder(root), constants.W_OK);
    mkdirSync(root, { recursive: true, mode: 0o711 });
  } catch (cause) {
    if (!['EROFS', 'EACCES', 'EPERM'].includes(systemCode(cause) ?? '')) throw cause;
    throw new SiphonError(
      'permission',
      `Cannot serve from root "${root}": ${errorMessage(cause)}, expected a folder that can be written`,
      { cause },
    );
  }
}

/** How long a service that was killed may take to be gone, in ms, and between two looks. */
const PATIENCE = 3000;
const INTERVAL = 50;

/**
 * Takes the root for this process, before anything in it is touched: a second service would unmount
 * what the first one serves. One that is just ending is waited for.
 * @returns what lets go of it, as the end of the process does
 * @throws SiphonError `busy`
 */
export async function claimRoot(root: string): Promise<() => void> {
  const lock = openSync(join(root, 'service.lock'), 'a', 0o600);
  for (let waited = 0; waited < PATIENCE; waited += INTERVAL) {
    if (tryLockFile(lock)) return () => closeSync(lock);
    await delay(INTERVAL);
  }
  closeSync(lock);
  throw new SiphonError(
    'busy',
    `Cannot serve from root "${root}": another siphon serve has it, expected to be the only one`,
    { hint: 'Stop that one, or give this one a root of its own.' },
  );
}

function nearestFolder(path: string): string {
  return existsSync(path) ? path : nearestFolder(dirname(path));
}

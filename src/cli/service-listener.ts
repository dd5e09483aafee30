/**
 * The snapshotter's socket. It listens before the command becomes its own keeper, which has it open from then on:
 * whoever connects while one server follows another waits for the next, and is not refused.
 */

import { closeSync } from 'node:fs';
import { type Listener, openListener } from '../snapshotter/socket.js';

const variable = 'SIPHON_LISTENER';

/** The one that the keeper holds, else a new one. @throws as openListener */
export async function serviceListener(address: string): Promise<Listener> {
  const { keepFromPrograms, keptDescriptor } = await import('../ffi/exec.js');
  const words = process.env[variable];
  delete process.env[variable];
  if (words === undefined) {
    const opened = await openListener(address);
    const fd = keptDescriptor(opened.fd);
    closeSync(opened.fd);
    return { ...opened, fd };
  }
  const [fd = 0, ino = 0] = words.split(' ').map(Number);
  keepFromPrograms(fd);
  return { address, fd, ino };
}

/** What a keeper is told of a listener that it shall hold. */
export function listenerWords({ fd, ino }: Listener): NodeJS.ProcessEnv {
  return { [variable]: `${fd} ${ino}` };
}

/**
 * What a service manager wants to know (sd_notify(3)): systemd names a socket in NOTIFY_SOCKET, and the
 * main process stays the keeper, so its unit says `NotifyAccess=all`.
 */

import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';

export type ServiceState = 'ready' | 'reloading' | 'stopping';

/** Says how it stands; does nothing where nobody has asked to know. */
export async function tellServiceManager(state: ServiceState, log: Logger): Promise<void> {
  const address = process.env['NOTIFY_SOCKET'];
  if (address === undefined || address === '') return;
  try {
    const { sendDatagram } = await import('../ffi/unix-socket.js');
    sendDatagram(address, messageOf(state));
  } catch (error) {
    log.warn({ error: errorMessage(error) }, 'the service manager is not told');
  }
}

function messageOf(state: ServiceState): string {
  switch (state) {
    case 'ready':
      return 'READY=1';
    case 'reloading':
      return `RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`;
    case 'stopping':
      return 'STOPPING=1';
  }
}

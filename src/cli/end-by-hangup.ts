/**
 * Ends this process as a hangup does, by its own effect: an orderly end of Node wants to put a terminal right that
 * is gone, and aborts.
 */
export function endByHangup(): void {
  process.removeAllListeners('SIGHUP');
  process.kill(process.pid, 'SIGHUP');
}

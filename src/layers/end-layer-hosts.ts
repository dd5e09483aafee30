import { setTimeout as delay } from 'node:timers/promises';
import { findProcesses, signalIfThere } from '../common/process.js';

/** How long one that is asked to end may take before it is killed, and then may take to die, ms. */
const PATIENCE = 2000;
const INTERVAL = 20;

/**
 * Ends the layer hosts of `directory`, also one that has hardly begun: it could mount where others have
 * cleared away. To be called when whoever started them is gone, and their overlay with it.
 */
export async function endLayerHosts(directory: string): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const pid of await hostsOf(directory)) signalIfThere(pid, signal);
    const deadline = Date.now() + PATIENCE;
    while ((await hostsOf(directory)).length > 0 && Date.now() < deadline) await delay(INTERVAL);
  }
}

/** Keepers and servers. */
function hostsOf(directory: string): Promise<number[]> {
  return findProcesses((args) => args.includes('serve-layers') && args.includes(directory));
}

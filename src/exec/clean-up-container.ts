/** Takes away what is left of a run of a container whose keeper was killed, or was cut short. */

import { readFile, readdir } from 'node:fs/promises';
import { removeCgroups } from './container-cgroup.js';
import type { ContainerHome } from './container-home.js';
import { findRuntime } from './find-runtime.js';
import { RuntimeCommands } from './runtime-commands.js';

/**
 * Ends every process of the container and unmounts its root filesystem; what it has written stays. The
 * caller holds the container's lock.
 */
export async function cleanUpContainer(
  home: ContainerHome,
  runtime: string,
  rootfs: { clear(folder: string): Promise<void> },
): Promise<void> {
  const { bundle } = home;
  // A runtime that is still at work could make the container after we have looked.
  await endRuntime(bundle.path);
  if (await bundle.hasState()) {
    const commands = new RuntimeCommands(await findRuntime(runtime), home.id, bundle);
    await commands.resume().catch(() => {}); // what is frozen does not die
    await commands.delete().catch(() => {}); // a half-made container is ended by its cgroup
  }
  await removeCgroups(home.id);
  await rootfs.clear(home.path);
  await bundle.remove();
}

async function endRuntime(bundle: string): Promise<void> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const text = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
    const args = text.split('\0');
    if (args[args.indexOf('--bundle') + 1] === bundle && args.includes('run')) end(Number(pid));
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended in between.
  }
}

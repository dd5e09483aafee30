/** Takes away what is left of a run of a container whose keeper was killed, or was cut short. */

import { findProcesses, signalIfThere } from '../common/process.js';
import { cgroupName, removeCgroups } from './container-cgroup.js';
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
  await removeCgroups(cgroupName(home.id, bundle.path));
  await rootfs.clear(home.path);
  await bundle.remove();
}

async function endRuntime(bundle: string): Promise<void> {
  const runtimes = await findProcesses(
    (args) => args[args.indexOf('--bundle') + 1] === bundle && args.includes('run'),
  );
  for (const pid of runtimes) signalIfThere(pid, 'SIGKILL');
}

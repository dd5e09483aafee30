import type { Sandbox } from './sandbox.js';

/** Removes all containers of the sandbox's root, running or not. */
export async function removeContainers(sandbox: Sandbox): Promise<void> {
  const { stdout } = await sandbox.siphon('ps', '--all', '--quiet');
  const names = stdout.split('\n').filter(Boolean);
  if (names.length > 0) await sandbox.siphon('rm', '--force', ...names);
}

import { resolve } from 'node:path';
import { detectCgroupMode } from './cgroup-mode.js';
import { checkCommand } from './command-lookup.js';
import { containerSpec } from './container-spec.js';
import { networkMounts } from './default-mounts.js';
import { ensureDirectoryInRootfs } from './rootfs-path.js';
import type { RunContainerOptions } from './run-options.js';
import type { RuntimeSpec } from './runtime-spec.js';
import { readAccountFiles, resolveUser } from './user-lookup.js';

/**
 * Looks into the root filesystem, makes what is missing there, and says what is to run.
 * @throws CommandError where the command cannot be run; SiphonError `usage`, `invalid`, `unsupported`
 */
export async function prepareContainer(options: RunContainerOptions): Promise<RuntimeSpec> {
  const { id, config } = options;
  const rootfs = resolve(options.rootfs);
  const image = config.config ?? {};
  const [files, cgroupMode, hostMounts] = await Promise.all([
    readAccountFiles(rootfs),
    detectCgroupMode(),
    networkMounts(options.network ?? 'host'),
  ]);
  const user = resolveUser(options.user ?? image.User ?? '', files);
  const spec = containerSpec({
    id,
    rootfs,
    image,
    overrides: options,
    user,
    cgroupMode,
    hostMounts,
    terminalSize: terminalSize(),
  });
  await checkCommand(rootfs, spec);
  for (const path of [spec.process.cwd, ...(image.Volumes ?? [])]) {
    await ensureDirectoryInRootfs(rootfs, path);
  }
  return spec;
}

/** Columns and rows of the terminal that our output goes to, if it does. */
function terminalSize(): [number, number] | undefined {
  return [process.stdout, process.stderr].find((stream) => stream.isTTY)?.getWindowSize();
}

import { statfs } from 'node:fs/promises';
import { SiphonError, systemCode } from '../common/errors.js';

/** `unified`: cgroup v2 alone. `hybrid`: v1 with v2 beside it. `legacy`: v1 alone. */
export type CgroupMode = 'unified' | 'hybrid' | 'legacy';

/** CGROUP2_SUPER_MAGIC of <linux/magic.h>. */
const CGROUP2 = 0x63677270;

/** @throws SiphonError `unsupported` where the host has no cgroups mounted */
export async function detectCgroupMode(root = '/sys/fs/cgroup'): Promise<CgroupMode> {
  const type = await fileSystemType(root);
  if (type === undefined) {
    throw new SiphonError(
      'unsupported',
      `Cannot run containers: there is no "${root}", expected the host's cgroups there`,
    );
  }
  if (type === CGROUP2) return 'unified';
  return (await fileSystemType(`${root}/unified`)) === CGROUP2 ? 'hybrid' : 'legacy';
}

async function fileSystemType(path: string): Promise<number | undefined> {
  try {
    return (await statfs(path)).type;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** All that `siphon doctor` looks at. Each look is independent, and none changes anything that stays. */

import { type ContainerdPlaces, examineContainerd } from './containerd.js';
import type { Finding } from './finding.js';
import { examineKernel } from './kernel.js';
import { examineRoot } from './root-folder.js';
import { examineTools } from './tools.js';

export interface Surroundings extends ContainerdPlaces {
  /** siphon's root; perhaps not there yet. */
  root: string;
}

export async function examine(surroundings: Surroundings): Promise<Finding[]> {
  const parts = [
    examineKernel(),
    examineTools(),
    examineContainerd(surroundings),
    examineRoot(surroundings.root),
  ];
  return (await Promise.all(parts)).flat();
}

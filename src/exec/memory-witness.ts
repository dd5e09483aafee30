/** Who tells of a container that has ended whether the kernel killed there for memory. */

import type { CgroupMode } from './cgroup-mode.js';
import { ranOutOfMemory, removeCgroups } from './container-cgroup.js';
import { MemoryWatch } from './memory-watch.js';
import type { RuntimeCommands } from './runtime-commands.js';

export interface MemoryWitness extends AsyncDisposable {
  /** For the runtime: the cgroup that it shall put the container into. */
  readonly cgroup: string;
  /** Whether the runtime shall leave that cgroup to be removed later. */
  readonly keep: boolean;
  /** To be called once the container runs. */
  begin(): Promise<void>;
  /** To be called once the container has ended. */
  ranOut(): Promise<boolean>;
}

export interface Witnessed {
  commands: Pick<RuntimeCommands, 'canKeep'>;
  /** The container's, {@link cgroupName}. */
  cgroup: string;
  mode: CgroupMode;
  /** Whether its memory has a limit; without one there is nothing to tell. */
  isLimited: boolean;
}

/** Disposing of it takes away what it has made. */
export function memoryWitness({ commands, cgroup, mode, isLimited }: Witnessed): MemoryWitness {
  if (!isLimited) return nobody(cgroup);
  if (commands.canKeep) {
    return { ...nobody(cgroup), keep: true, ranOut: () => ranOutOfMemory(cgroup) };
  }
  return mode === 'unified' ? groupAbove(cgroup) : eventCounter(cgroup);
}

function nobody(cgroup: string): MemoryWitness {
  return {
    cgroup,
    keep: false,
    begin: () => Promise.resolve(),
    ranOut: () => Promise.resolve(false),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** The runtime removes the container's cgroup at once, but none above, which counts what happens below it. */
function groupAbove(cgroup: string): MemoryWitness {
  return {
    ...nobody(`${cgroup}/container`),
    ranOut: () => ranOutOfMemory(cgroup),
    [Symbol.asyncDispose]: () => removeCgroups(cgroup),
  };
}

function eventCounter(cgroup: string): MemoryWitness {
  const watch = new MemoryWatch(cgroup);
  return {
    ...nobody(cgroup),
    begin: () => watch.begin(),
    ranOut: () => watch.ranOut(),
    [Symbol.asyncDispose]: () => Promise.resolve(watch[Symbol.dispose]()),
  };
}

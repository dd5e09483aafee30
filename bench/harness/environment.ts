/** The machine that numbers are of. */

import { readFile } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { packageVersion } from '#src/cli/version.js';
import { execute } from '../programs/execute.js';
import type { Environment } from './result.js';

/** @param folder that contestants store in */
export async function readEnvironment(folder: string): Promise<Omit<Environment, 'loadAfter'>> {
  const system = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const all = cpus();
  return {
    siphon: packageVersion(),
    node: process.versions.node,
    kernel: release(),
    system: /^PRETTY_NAME="?(.*?)"?$/m.exec(system)?.[1] ?? 'unknown',
    processor: all[0]?.model ?? 'unknown',
    processors: all.length,
    memoryBytes: totalmem(),
    fileSystem: (await execute('findmnt', ['-n', '-o', 'FSTYPE', '-T', folder])).trim(),
    loadBefore: currentLoad(),
  };
}

/** Over the last minute. */
export function currentLoad(): number {
  return loadavg()[0] ?? 0;
}

/**
 * What is mounted inside every container. As containerd has it, but without its empty /run: what an
 * image has there stays to be seen, as with docker.
 */

import { access } from 'node:fs/promises';
import type { Mount } from './runtime-spec.js';
import type { Network } from './run-options.js';

const SECURE = ['nosuid', 'noexec', 'nodev'];

/** Kernel interfaces that show a container more of the host than it should see. */
export const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
] as const;

/** Kernel interfaces that change the host when written to. */
export const READONLY_PATHS = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
] as const;

/** Files that say how the host's network is reached. */
const NETWORK_FILES = ['/etc/resolv.conf', '/etc/hosts'];

/** @param privileged the kernel's settings can be written */
export function defaultMounts(privileged = false): Mount[] {
  const access = privileged ? 'rw' : 'ro';
  return [
    mount('/proc', 'proc', 'proc', SECURE),
    mount('/dev', 'tmpfs', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
    mount('/dev/pts', 'devpts', 'devpts', [
      'nosuid',
      'noexec',
      'newinstance',
      'ptmxmode=0666',
      'mode=0620',
      'gid=5',
    ]),
    mount('/dev/shm', 'tmpfs', 'shm', [...SECURE, 'mode=1777', 'size=65536k']),
    mount('/dev/mqueue', 'mqueue', 'mqueue', SECURE),
    mount('/sys', 'sysfs', 'sysfs', [...SECURE, access]),
    mount('/sys/fs/cgroup', 'cgroup', 'cgroup', [...SECURE, 'relatime', access]),
  ];
}

/** The host's name resolution, read-only, where the container shares its network. */
export async function networkMounts(
  network: Network,
  files: readonly string[] = NETWORK_FILES,
): Promise<Mount[]> {
  if (network !== 'host') return [];
  const present = await Promise.all(files.map(isThere));
  return files
    .filter((_, position) => present[position] === true)
    .map((file) => mount(file, 'bind', file, ['rbind', 'rprivate', 'ro']));
}

/**
 * `base` and then `given`, which take the place of those with the same destination. Each comes after those that it
 * lies in, which would hide it.
 */
export function mergeMounts(base: readonly Mount[], given: readonly Mount[]): Mount[] {
  const taken = new Set(given.map((entry) => entry.destination));
  const mounts = [...base.filter((entry) => !taken.has(entry.destination)), ...given];
  return mounts.toSorted((a, b) => depthOf(a) - depthOf(b));
}

function depthOf({ destination }: Mount): number {
  return destination.split('/').filter(Boolean).length;
}

function mount(destination: string, type: string, source: string, options: string[]): Mount {
  return { destination, type, source, options: [...options] };
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

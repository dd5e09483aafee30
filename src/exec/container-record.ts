/** What is known of a container on disk: what was asked for, and what became of it. */

import type { ProcessIdentity } from '../common/process.js';
import type { ContainerOverrides } from './run-options.js';

/** Written once. */
export interface ContainerRecord {
  id: string;
  /** As on the command line; paths are absolute. */
  source: string;
  platform?: string;
  plainHttp?: boolean;
  /** `runc`, `crun` or a path. */
  runtime: string;
  overrides: ContainerOverrides;
  labels: Record<string, string>;
  /** The process can go on without its caller. */
  detached: boolean;
  /** The process has a standard input that can be written to. */
  interactive: boolean;
  /** Columns and rows of the terminal that it was asked for at. */
  terminalSize?: readonly [number, number];
  /** The container goes when its process ends. */
  autoRemove: boolean;
  /** RFC 3339. */
  createdAt: string;
}

/** Whether what the container prints is kept: in the foreground, not what goes with its end. */
export function keepsOutput({ detached, autoRemove }: ContainerRecord): boolean {
  return detached || !autoRemove;
}

export interface ContainerState {
  /**
   * As last written: who is killed writes nothing. `starting`: the root filesystem is made ready.
   */
  status: 'created' | 'starting' | 'running' | 'exited';
  /** The process that keeps the container: serves its files, holds its streams, waits for its end. */
  monitor?: ProcessIdentity;
  /** Of the image's manifest. */
  manifest?: string;
  /** How the root filesystem was made ready, and why so. */
  rootfs?: string;
  /** The image's and the container's own, which win. */
  labels?: Record<string, string>;
  /** The command line of the process. */
  command?: string[];
  startedAt?: string;
  finishedAt?: string;
  exitCode?: number;
  outOfMemory?: boolean;
  /** Its files went while it ran: who served them was killed. */
  filesLost?: boolean;
  /** Why it did not start. */
  error?: string;
}

/** How containers are. */

import { isRunning } from '../common/process.js';
import type { ContainerHome } from './container-home.js';
import type { ContainerRecord, ContainerState } from './container-record.js';
import { findRuntime } from './find-runtime.js';
import { RuntimeCommands } from './runtime-commands.js';

/** `lost`: whoever kept it was killed; its files are gone, and its processes if they needed any. */
export type Status = 'created' | 'starting' | 'running' | 'paused' | 'exited' | 'lost';

export interface ContainerDescription {
  id: string;
  status: Status;
  /** Of the first process, as the host sees it, while there is one. */
  pid?: number;
  /** Absent where the container's creation was cut short. */
  record?: ContainerRecord;
  state: ContainerState;
}

/** Whether a process keeps the container now. */
export function isActive(status: Status): boolean {
  return status === 'starting' || status === 'running' || status === 'paused';
}

export async function describeContainer(home: ContainerHome): Promise<ContainerDescription> {
  const [record, state] = await Promise.all([home.record(), home.state()]);
  const status = record === undefined ? 'lost' : await statusOf(home, record, state);
  const pid = status === 'running' || status === 'paused' ? await processId(home) : undefined;
  return {
    id: home.id,
    status,
    state,
    ...(pid === undefined ? {} : { pid }),
    ...(record === undefined ? {} : { record }),
  };
}

async function statusOf(
  home: ContainerHome,
  record: ContainerRecord,
  { status, monitor }: ContainerState,
): Promise<Status> {
  if (status === 'created' || status === 'exited') return status;
  if (monitor === undefined || !(await isRunning(monitor))) {
    // It may have ended between the two looks.
    const later = (await home.state()).status;
    return later === 'exited' || later === 'created' ? later : 'lost';
  }
  return status === 'running' && (await isPaused(home, record)) ? 'paused' : status;
}

async function isPaused(home: ContainerHome, { runtime }: ContainerRecord): Promise<boolean> {
  try {
    const commands = new RuntimeCommands(await findRuntime(runtime), home.id, home.bundle);
    return (await commands.status()) === 'paused';
  } catch {
    return false; // It ended in between.
  }
}

/** Never throws: the container may be on its way out. */
function processId(home: ContainerHome): Promise<number | undefined> {
  return home.bundle.processId().catch(() => undefined);
}

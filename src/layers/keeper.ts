/**
 * The keeper, as the server that it started sees it. The keeper (bin/siphon-keeper) holds the
 * descriptors of /dev/fuse and starts another server when this one dies; what that one has to know is
 * in the keeper's state file, whose first line is for the keeper itself.
 */

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { field, fieldsOf } from '../common/own-json.js';
import type { Connection } from '../fuse/fuse-session.js';

export interface Keeper {
  /** Its process id: the same for all of its servers. */
  readonly pid: number;
  /** The descriptors it holds: one where it is of an older version, none where it could not open the device. */
  readonly devices: readonly number[];
  /** 1 for the first server. */
  readonly life: number;
  /** Exit status of the server before, as a shell has it (128 + signal). */
  readonly endedWith: number;
  /** The same for all of its servers, in their memory and the keeper's alone; 32 bytes nobody guesses. */
  readonly secret: Buffer | undefined;
  /** This server is only to clean up. */
  readonly stopping: boolean;
  /** The connections to go on with. */
  readonly kept: readonly Connection[];
  /** Whether the server before had connections that cannot be gone on with. */
  readonly isLost: boolean;
  /** From now on another server can succeed this one; `connections` is all that it may go on with. */
  allowSuccession(connections: readonly Connection[]): void;
  /** Whether that has been called, and the kernel can hand requests on. */
  canBeSucceeded(): boolean;
}

let adopted: Keeper | undefined;

/**
 * The keeper that started this process, or `undefined`. The first call binds this process to the life
 * of its keeper, and takes the keeper's words out of the environment.
 */
export async function currentKeeper(): Promise<Keeper | undefined> {
  const {
    SIPHON_KEEPER: words,
    SIPHON_KEEPER_STATE: statePath,
    SIPHON_KEEPER_SECRET: secret,
  } = process.env;
  if (adopted !== undefined || words === undefined || statePath === undefined) return adopted;
  const [pid, life, held = 'none', endedWith, stop] = words.split(' ');
  const devices = held === 'none' ? [] : held.split(',').map(Number);
  delete process.env['SIPHON_KEEPER'];
  delete process.env['SIPHON_KEEPER_STATE'];
  delete process.env['SIPHON_KEEPER_SECRET'];
  let canBeSucceeded = false;
  const { dieWithParent, keepFromPrograms } = await import('../ffi/exec.js');
  dieWithParent();
  for (const device of devices) keepFromPrograms(device);
  if (process.ppid !== Number(pid)) process.kill(process.pid, 'SIGKILL');
  adopted = {
    pid: Number(pid),
    life: Number(life),
    devices,
    endedWith: Number(endedWith),
    secret: secret === undefined ? undefined : Buffer.from(secret, 'base64'),
    stopping: stop === 'stop',
    ...earlierConnections(statePath, devices),
    allowSuccession: (connections) => {
      const goesOn = canGoOn(connections);
      // A keeper of old goes on with the one it has.
      const used = devices.length > 1 ? connections.map(({ device }) => device) : [];
      const order = [goesOn ? 'resume' : 'renew', Number(life), ...used].join(' ');
      writeState(statePath, order, connections);
      canBeSucceeded = goesOn;
    },
    canBeSucceeded: () => canBeSucceeded,
  };
  return adopted;
}

function earlierConnections(
  path: string,
  devices: readonly number[],
): Pick<Keeper, 'kept' | 'isLost'> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return { kept: [], isLost: false }; // the first life
  }
  const earlier = parseState(JSON.parse(text.slice(text.indexOf('\n'))), devices[0] ?? -1);
  return canGoOn(earlier) ? { kept: earlier, isLost: false } : { kept: [], isLost: true };
}

function canGoOn(connections: readonly Connection[]): boolean {
  return connections.every(({ agreement }) => agreement.resend);
}

/** @param only the descriptor of a server of old, which had one connection and wrote nothing else */
function parseState(value: unknown, only: number): Connection[] {
  const state = fieldsOf(value, 'the state of a keeper');
  const { connections = [{ device: only, ...state }] } = state;
  return Array.isArray(connections) ? connections.map(parseConnection) : [];
}

function parseConnection(value: unknown): Connection {
  const connection = fieldsOf(value, 'a connection in the state of a keeper');
  const agreement = fieldsOf(connection['agreement'], 'what was agreed on with the kernel');
  return {
    mountPoint: field(connection, 'mountPoint', 'string'),
    device: field(connection, 'device', 'number'),
    agreement: {
      kernelMinor: field(agreement, 'kernelMinor', 'number'),
      maxRead: field(agreement, 'maxRead', 'number'),
      noOpen: field(agreement, 'noOpen', 'boolean'),
      noOpendir: field(agreement, 'noOpendir', 'boolean'),
      resend: field(agreement, 'resend', 'boolean'),
      noXattrs: agreement['noXattrs'] === true,
    },
  };
}

function writeState(path: string, order: string, connections: readonly Connection[]): void {
  writeFileSync(`${path}.new`, `${order}\n${JSON.stringify({ connections })}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

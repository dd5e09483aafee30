/**
 * The keeper, as the server that it started sees it. The keeper (bin/siphon-keeper) holds the
 * descriptor of /dev/fuse and starts another server when this one dies; what that one has to know is
 * in the keeper's state file, whose first line is for the keeper itself.
 */

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { field, fieldsOf } from '../common/own-json.js';
import type { Connection } from '../fuse/fuse-session.js';

type KeptConnection = Pick<Connection, 'mountPoint' | 'agreement'>;

export interface Keeper {
  /** Its process id: the same for all of its servers. */
  readonly pid: number;
  /** The descriptor it holds; `undefined` where it could not open the device. */
  readonly device: number | undefined;
  /** 1 for the first server. */
  readonly life: number;
  /** Exit status of the server before, as a shell has it (128 + signal). */
  readonly endedWith: number;
  /** The same for all of its servers, in their memory and the keeper's alone; 32 bytes nobody guesses. */
  readonly secret: Buffer | undefined;
  /** This server is only to clean up. */
  readonly stopping: boolean;
  /** The connection to go on with. */
  readonly kept: Connection | undefined;
  /** The connection of the server before, which cannot be gone on with. */
  readonly lost: KeptConnection | undefined;
  /** From now on another server can succeed this one. */
  allowSuccession(connection: Connection): void;
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
  const [pid, life, device, endedWith, stop] = words.split(' ');
  delete process.env['SIPHON_KEEPER'];
  delete process.env['SIPHON_KEEPER_STATE'];
  delete process.env['SIPHON_KEEPER_SECRET'];
  let canBeSucceeded = false;
  const { dieWithParent, keepFromPrograms } = await import('../ffi/exec.js');
  dieWithParent();
  if (device !== 'none') keepFromPrograms(Number(device));
  if (process.ppid !== Number(pid)) process.kill(process.pid, 'SIGKILL');
  adopted = {
    pid: Number(pid),
    life: Number(life),
    device: device === 'none' ? undefined : Number(device),
    endedWith: Number(endedWith),
    secret: secret === undefined ? undefined : Buffer.from(secret, 'base64'),
    stopping: stop === 'stop',
    ...earlierConnection(statePath, Number(device)),
    allowSuccession: (connection) => {
      writeState(statePath, Number(life), connection);
      canBeSucceeded = connection.agreement.resend;
    },
    canBeSucceeded: () => canBeSucceeded,
  };
  return adopted;
}

function earlierConnection(path: string, device: number): Pick<Keeper, 'kept' | 'lost'> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return { kept: undefined, lost: undefined }; // the first life
  }
  const earlier = parseConnection(JSON.parse(text.slice(text.indexOf('\n'))));
  return earlier.agreement.resend
    ? { kept: { ...earlier, device }, lost: undefined }
    : { kept: undefined, lost: earlier };
}

function parseConnection(value: unknown): KeptConnection {
  const connection = fieldsOf(value, 'the state of a keeper');
  const agreement = fieldsOf(connection['agreement'], 'what was agreed on with the kernel');
  return {
    mountPoint: field(connection, 'mountPoint', 'string'),
    agreement: {
      kernelMinor: field(agreement, 'kernelMinor', 'number'),
      maxRead: field(agreement, 'maxRead', 'number'),
      noOpen: field(agreement, 'noOpen', 'boolean'),
      noOpendir: field(agreement, 'noOpendir', 'boolean'),
      resend: field(agreement, 'resend', 'boolean'),
    },
  };
}

function writeState(path: string, life: number, { mountPoint, agreement }: Connection): void {
  const word = agreement.resend ? 'resume' : 'renew';
  const connection: KeptConnection = { mountPoint, agreement };
  writeFileSync(`${path}.new`, `${word} ${life}\n${JSON.stringify(connection)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

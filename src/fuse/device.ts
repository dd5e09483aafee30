/**
 * /dev/fuse and the mount that talks through it. A {@link Connection} is plain values: a process that
 * holds the descriptor for another only has to hand on these.
 */

import { closeSync, openSync, readSync, statSync, statfsSync, writeSync } from 'node:fs';
import { realpath, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { listMounts } from '../common/mount-info.js';
import { MS, mount } from '../ffi/libc.js';
import { type Agreement, type NegotiateOptions, negotiate } from './protocol/init.js';
import { ProtocolError, Request } from './protocol/request.js';

/** A mount whose INIT has been answered. */
export interface Connection {
  mountPoint: string;
  /** Descriptor of /dev/fuse; close-on-exec. The connection ends when its last copy is closed. */
  device: number;
  agreement: Agreement;
}

const devicePath = '/dev/fuse';
const fileSystemType = 'fuse.siphon';
const options = 'rootmode=40755,user_id=0,group_id=0,default_permissions,allow_other';

/**
 * Mounts on a directory. No look-up is answered before something reads the device.
 * @param options.device a descriptor of /dev/fuse that nothing is mounted through yet; closed on failure
 * @throws SiphonError `permission`, `unsupported` (no /dev/fuse, a kernel too old), `not-found`, `busy`
 */
export function openConnection(
  mountPoint: string,
  options: NegotiateOptions & { device?: number } = {},
): Connection {
  checkMountPoint(mountPoint);
  const device = options.device ?? openDevice();
  try {
    mountDevice(device, mountPoint);
    const agreement = begin(device, mountPoint, options);
    return { mountPoint, device, agreement };
  } catch (error) {
    // The last descriptor ends the connection; a mount that was made is then dead but removable.
    closeSync(device);
    throw error;
  }
}

/**
 * Sets how far the kernel reads ahead on this mount.
 * @throws the system error where /sys cannot be written
 */
export async function setReadAhead(mountPoint: string, kibibytes: number): Promise<void> {
  // Not from stat(2): a process that waited for itself could not even be killed.
  const path = join(await realpath(dirname(mountPoint)), basename(mountPoint));
  const entry = (await listMounts()).findLast((one) => one.mountPoint === path);
  await writeFile(`/sys/class/bdi/${entry?.device}/read_ahead_kb`, String(kibibytes));
}

function checkMountPoint(path: string): void {
  try {
    // The attributes of a dead mount may still be cached; its statistics never are.
    statfsSync(path);
    if (statSync(path).isDirectory()) return;
  } catch (error) {
    throw mountPointError(path, error);
  }
  throw new SiphonError(
    'invalid',
    `Cannot mount on "${path}": it is no directory, expected an existing directory`,
  );
}

function mountPointError(path: string, error: unknown): SiphonError {
  switch (systemCode(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new SiphonError(
        'not-found',
        `Cannot mount on "${path}": it does not exist, expected a directory`,
      );
    case 'ENOTCONN':
      return new SiphonError(
        'busy',
        `Cannot mount on "${path}": a mount is left there whose server is gone, expected none`,
        { hint: `Remove it with "umount -l ${path}".` },
      );
    default:
      return new SiphonError('permission', `Cannot mount on "${path}": ${errorMessage(error)}`, {
        cause: error,
      });
  }
}

function openDevice(): number {
  try {
    return openSync(devicePath, 'r+');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EACCES' || code === 'EPERM') {
      throw new SiphonError(
        'permission',
        `Cannot open "${devicePath}": permission is denied (${code}), expected to run as root`,
        { cause: error },
      );
    }
    throw new SiphonError(
      'unsupported',
      `Cannot open "${devicePath}": this system offers no FUSE (${code ?? errorMessage(error)}), expected the kernel module "fuse" and its device`,
      { hint: 'Try "modprobe fuse"; in a container, add the device.', cause: error },
    );
  }
}

function mountDevice(device: number, mountPoint: string): void {
  try {
    mount({
      source: 'siphon',
      target: mountPoint,
      type: fileSystemType,
      flags: MS.RDONLY,
      data: `fd=${device},${options}`,
    });
  } catch (error) {
    throw mountError(mountPoint, error);
  }
}

function mountError(mountPoint: string, error: unknown): SiphonError {
  switch (systemCode(error)) {
    case 'EPERM':
    case 'EACCES':
      return new SiphonError(
        'permission',
        `Cannot mount on "${mountPoint}": the kernel refuses, expected to run as root with CAP_SYS_ADMIN`,
        { cause: error },
      );
    case 'ENODEV':
      return new SiphonError(
        'unsupported',
        `Cannot mount on "${mountPoint}": the kernel knows no file system "fuse", expected its module "fuse"`,
        { cause: error },
      );
    case 'EBUSY':
      return new SiphonError('busy', `Cannot mount on "${mountPoint}": it is in use`, {
        cause: error,
      });
    default:
      return new SiphonError(
        'unsupported',
        `Cannot mount on "${mountPoint}": ${errorMessage(error)}`,
        { cause: error },
      );
  }
}

/** Answers INIT, which mount(2) has queued. */
function begin(device: number, mountPoint: string, options: NegotiateOptions): Agreement {
  const request = new Request();
  try {
    request.load(readSync(device, request.buffer, 0, request.buffer.length, null));
    const { agreement, reply } = negotiate(request, options);
    writeSync(device, reply);
    return agreement;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new SiphonError('unsupported', `Cannot mount on "${mountPoint}": ${error.message}`, {
      hint: 'Linux 5.4 or later is needed.',
      cause: error,
    });
  }
}

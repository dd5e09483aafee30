/** What the kernel has to have. */

import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { errorMessage } from '../../common/errors.js';
import type { Finding } from './finding.js';

/** `FUSE_NOTIFY_RESEND`, by which a server's requests outlive it. */
const RESEND_SINCE = [6, 9] as const;

export async function examineKernel(): Promise<Finding[]> {
  return [
    await examineDevice(),
    await examineOverlay(),
    resendFinding(release()),
    await examineUserNamespaces(),
  ];
}

/** @param kernel as uname(2) has it */
export function resendFinding(kernel: string): Finding {
  const check = 'handing requests on';
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  const [needMajor, needMinor] = RESEND_SINCE;
  if (major > needMajor || (major === needMajor && minor >= needMinor))
    return { check, result: 'ok', detail: `Linux ${kernel} has FUSE_NOTIFY_RESEND` };
  return {
    check,
    result: 'warn',
    detail: `Linux ${kernel} has no FUSE_NOTIFY_RESEND, so that containers get errors when the server dies`,
    advice: `Run Linux ${needMajor}.${needMinor} or newer.`,
  };
}

async function examineDevice(): Promise<Finding> {
  const check = 'FUSE';
  try {
    await access('/dev/fuse', constants.R_OK | constants.W_OK);
    return { check, result: 'ok', detail: '/dev/fuse can be opened' };
  } catch (error) {
    const advice = 'Load the module (modprobe fuse), or give the container the device.';
    return { check, result: 'fail', detail: errorMessage(error), advice };
  }
}

async function examineOverlay(): Promise<Finding> {
  const check = 'overlayfs';
  const known = await readFile('/proc/filesystems', 'utf8');
  if (/\toverlay$/m.test(known)) return { check, result: 'ok', detail: 'the kernel has it' };
  const advice = 'Load it: modprobe overlay.';
  return { check, result: 'warn', detail: 'the kernel does not have it loaded', advice };
}

async function examineUserNamespaces(): Promise<Finding> {
  const check = 'user namespaces';
  const limit = Number(await readFile('/proc/sys/user/max_user_namespaces', 'utf8').catch(() => 0));
  if (limit > 0) return { check, result: 'ok', detail: `up to ${limit}` };
  const detail = 'there are none, so that no container can have users of its own';
  return { check, result: 'warn', detail, advice: 'Set the sysctl user.max_user_namespaces.' };
}

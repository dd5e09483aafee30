/** The programs and libraries that siphon's commands use besides the service. */

import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Finding } from './finding.js';

/** Where root's programs are, though a person's PATH may lack it. */
const ALWAYS = ['/usr/sbin', '/sbin'];

export async function examineTools(): Promise<Finding[]> {
  return Promise.all([
    examineProgram('runc', 'siphon run needs it'),
    examineProgram('fusermount', 'mounts by ordinary users need it', 'fuse3'),
    examineLibfuse(),
  ]);
}

async function examineProgram(check: string, why: string, pkg = check): Promise<Finding> {
  const path = await find(check);
  if (path !== undefined) return { check, result: 'ok', detail: path };
  const advice = `On Debian: apt-get install ${pkg}.`;
  return { check, result: 'warn', detail: `not on the path; ${why}`, advice };
}

async function examineLibfuse(): Promise<Finding> {
  const check = 'libfuse.so.2';
  const ldconfig = await find('ldconfig');
  const known = ldconfig === undefined ? '' : await libraries(ldconfig);
  const path = /libfuse\.so\.2 .*=> (\S+)/.exec(known)?.[1];
  if (path !== undefined) return { check, result: 'ok', detail: path };
  return {
    check,
    result: 'warn',
    detail: 'not found; mounts by ordinary users need it',
    advice: 'On Debian: apt-get install libfuse2.',
  };
}

async function libraries(ldconfig: string): Promise<string> {
  const { stdout } = await promisify(execFile)(ldconfig, ['-p']).catch(() => ({ stdout: '' }));
  return stdout;
}

async function find(program: string): Promise<string | undefined> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...ALWAYS];
  for (const folder of folders.filter((one) => one !== '')) {
    const path = join(folder, program);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}

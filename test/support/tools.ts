/** The real tools that images are made and moved with. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Standard output. @throws with standard error in the message where the tool fails */
export async function tool(name: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(name, args, { maxBuffer: 16 * 1024 * 1024 });
  return stdout;
}

export function skopeoCopy(from: string, to: string, ...options: string[]): Promise<string> {
  const insecure = ['--src-tls-verify=false', '--dest-tls-verify=false'];
  return tool('skopeo', '--insecure-policy', 'copy', ...insecure, ...options, from, to);
}

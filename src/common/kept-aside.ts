import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Makes `<root>/damaged-<time>`, for files that cannot be used as they are and that nobody but a person
 * may remove.
 */
export function keptAsideFolder(root: string): string {
  const folder = join(root, `damaged-${new Date().toISOString().replaceAll(':', '-')}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

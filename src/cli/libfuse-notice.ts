/** What the libfuse driver shows otherwise than it is, told to its user once per root. */

import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const text = `siphon: through libfuse some things cannot be shown as they are: names that are not UTF-8, times before
1970 or finer than a millisecond; and nobody but you can look into the folder. (This is said once.)
`;

/** Prints the notice, unless it was printed for this root before. */
export async function showLibfuseNotice(root: string): Promise<void> {
  const mark = join(root, 'libfuse-notice');
  const isKnown = await access(mark).then(
    () => true,
    () => false,
  );
  if (isKnown) return;
  process.stderr.write(text);
  await mkdir(root, { recursive: true });
  await writeFile(mark, text);
}

import { open } from 'node:fs/promises';

/** fsync(2) of files and directories, all at once. @throws the system error */
export async function syncFiles(paths: readonly (string | Buffer)[]): Promise<void> {
  await Promise.all(paths.map(syncFile));
}

async function syncFile(path: string | Buffer): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * A file tree as plain data, in every attribute that an image can set, so that two trees can be
 * compared by value: type and mode, owner, size, modification time in nanoseconds, link target, device
 * number, hard-link group, extended attributes, digest of the contents. Names are kept byte for byte
 * (as latin1 text).
 */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

export interface TreeEntry {
  mode: string;
  owner: string;
  size?: number;
  mtime?: string;
  target?: string;
  device?: string;
  /** Path of the first file, in order, of a group of hard links with at least two members. */
  linkedTo?: string;
  xattrs: Record<string, string>;
  digest?: string;
}

export type Tree = Record<string, TreeEntry>;

/** Reads the tree below `root`; `.` is the root itself. */
export async function readTree(root: string): Promise<Tree> {
  const paths = (await listPaths(Buffer.from(root))).map((path) => path.toString('latin1')).sort();
  const xattrs = await readXattrs(root);
  const tree: Tree = {};
  const inodes = new Map<string, string>();
  for (const path of ['.', ...paths]) {
    const full = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
    tree[path] = { ...(await readEntry(full, path, inodes)), xattrs: xattrs.get(path) ?? {} };
  }
  return tree;
}

async function listPaths(root: Buffer, prefix = Buffer.alloc(0)): Promise<Buffer[]> {
  const paths: Buffer[] = [];
  const folder = Buffer.concat([root, Buffer.from('/'), prefix]);
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([prefix, entry.name]);
    paths.push(path);
    if (entry.isDirectory()) {
      paths.push(...(await listPaths(root, Buffer.concat([path, Buffer.from('/')]))));
    }
  }
  return paths;
}

async function readEntry(
  full: Buffer,
  path: string,
  inodes: Map<string, string>,
): Promise<Omit<TreeEntry, 'xattrs'>> {
  const stat = await lstat(full, { bigint: true });
  const entry: Omit<TreeEntry, 'xattrs'> = {
    mode: stat.mode.toString(8),
    owner: `${stat.uid}:${stat.gid}`,
    mtime: String(stat.mtimeNs),
  };
  if (stat.isSymbolicLink()) entry.target = (await readlink(full, 'buffer')).toString('latin1');
  if (stat.isBlockDevice() || stat.isCharacterDevice()) entry.device = String(stat.rdev);
  if (stat.isFile()) Object.assign(entry, { size: Number(stat.size), digest: await hash(full) });
  if (!stat.isDirectory() && stat.nlink > 1n) {
    const inode = `${stat.dev}:${stat.ino}`;
    entry.linkedTo = inodes.get(inode) ?? path;
    inodes.set(inode, entry.linkedTo);
  }
  return entry;
}

async function hash(path: Buffer): Promise<string> {
  const sha = createHash('sha256');
  await pipeline(createReadStream(path), sha);
  return sha.digest('hex');
}

/** All extended attributes below `root`, by path; overlay's own bookkeeping is left out. */
async function readXattrs(root: string): Promise<Map<string, Record<string, string>>> {
  const { stdout } = await promisify(execFile)(
    'getfattr',
    ['--dump', '--match=-', '--no-dereference', '--recursive', '--physical', '--encoding=hex', '.'],
    { cwd: root, encoding: 'latin1', maxBuffer: 256 * 1024 * 1024 },
  );
  const byPath = new Map<string, Record<string, string>>();
  for (const block of stdout.split('\n\n')) {
    const [head, ...lines] = block.split('\n');
    if (head === undefined || !head.startsWith('# file: ')) continue;
    const values = lines.filter((line) => line.includes('=')).map((line) => split(line));
    byPath.set(
      unescape(head.slice('# file: '.length)),
      Object.fromEntries(values.filter(([name]) => !/^(?:trusted|user)\.overlay\./.test(name))),
    );
  }
  return byPath;
}

function split(line: string): [string, string] {
  const at = line.indexOf('=');
  return [line.slice(0, at), line.slice(at + 1)];
}

function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/** Mounts that show the owners of another as a user namespace maps them, as containerd 2 makes them. */

import koffi from 'koffi';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';

const library = koffi.load(null);
const syscall = (...types: string[]) =>
  library.func(`long syscall(long, ${types.join(', ')})`) as (...args: unknown[]) => number;
const openTree = syscall('long', 'str', 'long');
const mountSetattr = syscall('long', 'str', 'long', 'void *', 'long');
const moveMount = syscall('long', 'str', 'long', 'str', 'long');

// The same on every architecture.
const SYS_open_tree = 428;
const SYS_move_mount = 429;
const SYS_mount_setattr = 442;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const OPEN_TREE_CLONE = 1;
const MOUNT_ATTR_IDMAP = 0x100000n;
const MOVE_MOUNT_F_EMPTY_PATH = 4;

export interface UserNamespace extends AsyncDisposable {
  /** Of a process in it. */
  pid: number;
}

/** A user namespace whose id 0 is `first` here, and so on for 65,536 ids. */
export async function openUserNamespace(first: number): Promise<UserNamespace> {
  const holder = spawn('unshare', ['--user', 'sh', '-c', 'echo in; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(holder, 'exit');
  await once(holder.stdout, 'data');
  for (const map of ['uid_map', 'gid_map']) {
    await writeFile(`/proc/${holder.pid}/${map}`, `0 ${first} 65536`);
  }
  return {
    pid: holder.pid ?? 0,
    async [Symbol.asyncDispose]() {
      holder.kill('SIGKILL');
      await exited;
    },
  };
}

/** Mounts `source` on `target`, with owners as the user namespace maps them. */
export function mountIdmapped(source: string, target: string, { pid }: UserNamespace): void {
  const namespace = openSync(`/proc/${pid}/ns/user`, 'r');
  const tree = must(openTree(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE), 'open_tree');
  try {
    const attributes = new BigUint64Array([MOUNT_ATTR_IDMAP, 0n, 0n, BigInt(namespace)]);
    const size = attributes.byteLength;
    must(mountSetattr(SYS_mount_setattr, tree, '', AT_EMPTY_PATH, attributes, size), 'setattr');
    const moved = moveMount(SYS_move_mount, tree, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
    must(moved, 'move_mount');
  } finally {
    closeSync(tree);
    closeSync(namespace);
  }
}

function must(result: number, call: string): number {
  if (result >= 0) return result;
  throw new Error(`${call}: errno ${koffi.errno()}`);
}

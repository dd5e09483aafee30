/**
 * The second driver: libfuse 2.9 through fuse-native, for people who are not root; its setuid helper
 * `fusermount` opens the device. It mounts one merged tree, since such people have no overlay either.
 * Everything runs on the main thread. What fuse-native cannot do: names that are not UTF-8, times before
 * 1970 and below a millisecond, inode numbers beyond 32 bits, interrupts.
 */

import { statfs } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SiphonError, errorMessage } from '../common/errors.js';
import { type Logger, silentLogger } from '../common/log.js';
import { isMounted } from '../common/mount-info.js';
import { LayerIndex } from '../index/layer-index.js';
import type { Inode } from '../index/layer-model.js';
import {
  type Answer,
  type Libfuse,
  type LibfuseClass,
  type LibfuseOperations,
  type LibfuseStat,
  loadLibfuse,
} from './libfuse.js';
import { type MergedNode, MergedTree } from './merged-tree.js';
import type { FetchSpans, UnkeptOf } from './missed-read.js';
import { MissedReads } from './missed-reads.js';
import { encodeDevice, replyHeaderSize } from './protocol/reply.js';
import { readSegments } from './read-segments.js';
import type { ServedLayer } from './served-layer.js';
import { absentSpans, noteUse, spansUnder } from './span-presence.js';

export interface LibfuseMountOptions {
  /** An existing directory of the user's own, by its real path. */
  mountPoint: string;
  /** Topmost first. */
  layers: readonly ServedLayer[];
  fetch: FetchSpans;
  /** What `fetch` could not make present; default: nothing. */
  unkept?: UnkeptOf;
  /** Milliseconds until a read that waits for `fetch` fails with EIO; default 60 000. */
  fetchTimeout?: number;
  log?: Logger;
}

export interface LibfuseMount {
  /** Unmounts, lazily as fusermount does it, and closes the indexes. */
  unmount(): Promise<void>;
}

const { EINVAL, EIO, ENAMETOOLONG, ENODATA, ENOENT, ERANGE } = constants.errno;
const defaultFetchTimeout = 60_000;
/** Seconds that the kernel keeps names and attributes: the tree never changes. */
const validity = 10 * 365 * 24 * 3600;
const longestName = 255;
/** Between two looks whether a mount that has not begun is still there, ms. */
const lookInterval = 100;
/** Overlay's own marks mean nothing in a merged tree. */
const hiddenXattr = /^(?:trusted|user)\.overlay\./;

/** @throws SiphonError `unsupported` (no fuse-native, no libfuse), `permission` (fusermount refuses) */
export async function mountLibfuse(options: LibfuseMountOptions): Promise<LibfuseMount> {
  const libfuse = await loadLibfuse();
  const server = new LibfuseServer(options);
  try {
    return await mountServer(libfuse, server, options.mountPoint);
  } catch (error) {
    await server.close();
    throw new SiphonError(
      'permission',
      `Cannot mount on "${options.mountPoint}" through libfuse: ${errorMessage(error)}`,
      {
        hint: `It takes "fusermount" (Debian's package "fuse"), a mount point of one's own, and permission to open /dev/fuse.`,
        cause: error,
      },
    );
  }
}

async function mountServer(
  libfuse: LibfuseClass,
  server: LibfuseServer,
  mountPoint: string,
): Promise<LibfuseMount> {
  const mount = new libfuse(mountPoint, server.operations(), {
    timeout: false, // every operation ends by its own means
    defaultPermissions: true,
    kernelCache: true,
    entryTimeout: validity,
    attrTimeout: validity,
    subtype: 'siphon',
    // fuse-native joins options by commas and has no words for these.
    fsname: 'siphon,use_ino,ro',
  });
  await begun(mount, mountPoint);
  return {
    async unmount() {
      await called((done) => mount.unmount(done));
      await server.close();
    },
  };
}

/** Resolves when the mount can be used, or has been taken away before that. */
async function begun(mount: Libfuse, mountPoint: string): Promise<void> {
  const over = new AbortController();
  const used = called((done) => mount.mount(done)).finally(() => over.abort());
  await Promise.race([used, takenAway(mount, mountPoint, over.signal)]);
}

async function takenAway(mount: Libfuse, mountPoint: string, over: AbortSignal): Promise<void> {
  while (!over.aborted && !(mount.hasMounted() && !(await isMounted(mountPoint))))
    await delay(lookInterval);
}

class LibfuseServer {
  readonly #layers: readonly ServedLayer[];
  readonly #indexes: LayerIndex[] = [];
  readonly #tree: MergedTree;
  readonly #reads: MissedReads;
  readonly #log: Logger;
  /** What takes the answers, at once. */
  readonly #answers = new Map<number, (message: Buffer) => void>();
  #unique = 0;

  constructor(options: LibfuseMountOptions) {
    this.#layers = options.layers;
    this.#log = options.log ?? silentLogger;
    try {
      for (const { indexPath } of options.layers) this.#indexes.push(LayerIndex.open(indexPath));
      this.#tree = new MergedTree(this.#indexes);
    } catch (error) {
      for (const index of this.#indexes) index.close();
      throw error;
    }
    this.#reads = new MissedReads({
      fetch: options.fetch,
      unkept: options.unkept,
      timeout: options.fetchTimeout ?? defaultFetchTimeout,
      cache: (number) => this.#layers.find((layer) => layer.number === number),
      reply: (message) => this.#answered(message),
      failed: ({ layer, ino }, error) =>
        this.#log.error({ layer, ino }, `a read failed: ${errorMessage(error)}`),
      log: this.#log,
    });
  }

  operations(): LibfuseOperations {
    return {
      getattr: (path, answer) =>
        this.#answer(answer, path, (node) => statOf(this.#tree.attributes(node))),
      readdir: (path, answer) =>
        this.#answer<Listing>(
          (status, listing) => answer(status, listing?.names, listing?.attributes),
          path,
          (node) => this.#list(path, node),
        ),
      readlink: (path, answer) => this.#answer(answer, path, (node) => this.#target(node)),
      open: (_, __, answer) => answer(0, 0),
      // oxlint-disable-next-line max-params -- fuse-native calls it so
      read: (path, _, into, length, position, answer) =>
        void this.#read(path, into.subarray(0, length), position).then(answer),
      getxattr: (path, name, size, answer) =>
        this.#answer(answer, path, (node) => fitting(this.#xattr(node, name), size)),
      listxattr: (path, size, answer) =>
        this.#answer(answer, path, (node) => fitting(this.#xattrNames(node), size)),
      statfs: (_, answer) => void this.#statistics().then((of) => answer(0, of)),
    };
  }

  async close(): Promise<void> {
    await this.#reads.close();
    for (const index of this.#indexes) index.close();
  }

  /** Answers with what `find` makes of the node; a number is an errno. */
  #answer<T>(answer: Answer<T>, path: string, find: (node: MergedNode) => T | Errno): void {
    try {
      const node = this.#resolve(path);
      const found = node instanceof Errno ? node : find(node);
      if (found instanceof Errno) answer(-found.errno);
      else answer(0, found);
    } catch (error) {
      this.#log.error({ err: error, path }, 'a libfuse operation failed');
      answer(-EIO);
    }
  }

  #resolve(path: string): MergedNode | Errno {
    const names = path.split('/').filter((name) => name !== '');
    const bytes = names.map((name) => Buffer.from(name));
    if (bytes.some((name) => name.length > longestName)) return new Errno(ENAMETOOLONG);
    return this.#tree.resolve(bytes) ?? new Errno(ENOENT);
  }

  #list(path: string, directory: MergedNode): Listing {
    const above = this.#resolve(dirname(path));
    const parent = above instanceof Errno ? directory : above;
    const listing: Listing = {
      names: ['.', '..'],
      attributes: [directory, parent].map((node) => statOf(this.#tree.attributes(node))),
    };
    for (const { name, inode } of this.#tree.entries(directory)) {
      listing.names.push(name.toString());
      listing.attributes.push(statOf(inode));
    }
    return listing;
  }

  #target([{ layer, inode }]: MergedNode): string | Errno {
    return this.#indexes[layer]?.readlink(inode.ino)?.toString() ?? new Errno(EINVAL);
  }

  #xattr([{ layer, inode }]: MergedNode, name: string): Buffer | Errno {
    const value = hiddenXattr.test(name)
      ? undefined
      : this.#indexes[layer]?.xattr(inode.ino, Buffer.from(name));
    return value ?? new Errno(ENODATA);
  }

  #xattrNames([{ layer, inode }]: MergedNode): Buffer {
    const names = this.#indexes[layer]?.xattrNames(inode.ino).map(String) ?? [];
    const shown = names.filter((name) => !hiddenXattr.test(name));
    return Buffer.from(shown.map((name) => `${name}\0`).join(''));
  }

  /** Bytes read, or a negative errno. */
  async #read(path: string, into: Buffer, position: number): Promise<number> {
    try {
      const node = this.#resolve(path);
      return node instanceof Errno ? -node.errno : await this.#readNode(node[0], into, position);
    } catch (error) {
      this.#log.error({ err: error, path }, 'a libfuse read failed');
      return -EIO;
    }
  }

  async #readNode(
    { layer, inode }: MergedNode[0],
    into: Buffer,
    position: number,
  ): Promise<number> {
    const [index, served] = [this.#indexes[layer], this.#layers[layer]];
    if (index === undefined || served === undefined) return -EIO;
    const segments = index.segments(inode.ino, position, into.length);
    const presence = new Uint8Array(served.presence);
    noteUse(index, new Uint32Array(served.used ?? new SharedArrayBuffer(0)), segments);
    let absent = absentSpans(index, presence, segments);
    if (absent === undefined) {
      const length = await readSegments(served.cachePath, segments, into);
      // They may have been taken out of the cache meanwhile.
      absent = absentSpans(index, presence, segments);
      if (absent === undefined) return length;
    }
    this.#unique += 1;
    return new Promise((resolve) => {
      this.#answers.set(this.#unique, (message) => {
        const status = message.readInt32LE(4);
        resolve(status === 0 ? message.copy(into, 0, replyHeaderSize) : status);
      });
      this.#reads.serve({
        uniqueLow: this.#unique,
        uniqueHigh: 0,
        pid: 0,
        layer: served.number,
        ino: inode.ino,
        segments,
        spans: spansUnder(index, segments),
        firstSpan: absent.first,
        lastSpan: absent.last,
      });
    });
  }

  #answered(message: Buffer): Promise<void> {
    const unique = message.readUInt32LE(8);
    this.#answers.get(unique)?.(message);
    this.#answers.delete(unique);
    return Promise.resolve();
  }

  async #statistics(): Promise<Record<string, number>> {
    const of = await statfs(dirname(this.#layers[0]?.cachePath ?? '/'));
    const { bsize, blocks, bfree, bavail, files, ffree } = of;
    return { bsize, frsize: bsize, blocks, bfree, bavail, files, ffree, namemax: longestName };
  }
}

/** An errno in place of a result. */
class Errno {
  readonly errno: number;
  constructor(errno: number) {
    this.errno = errno;
  }
}

/** What is in a directory, as fuse-native takes it. */
interface Listing {
  names: string[];
  attributes: LibfuseStat[];
}

/** The bytes, where the caller has room for them or only asks how many they are (0). */
function fitting(bytes: Buffer | Errno, room: number): Buffer | Errno {
  return bytes instanceof Errno || room === 0 || bytes.length <= room ? bytes : new Errno(ERANGE);
}

function statOf(inode: Inode): LibfuseStat {
  const time = Math.max(
    0,
    inode.mtimeSeconds * 1000 + Math.floor(inode.mtimeNanoseconds / 1_000_000),
  );
  return {
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    size: inode.size,
    nlink: inode.nlink,
    ino: inode.ino,
    rdev: encodeDevice(inode.rdevMajor, inode.rdevMinor),
    blksize: 4096,
    blocks: Math.ceil(inode.size / 512),
    atime: time,
    mtime: time,
    ctime: time,
  };
}

function called(call: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) =>
    call((error) => (error === null || error === undefined ? resolve() : reject(error))),
  );
}

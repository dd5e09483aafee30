/** Reading file contents, in every way there is. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipe as openPipe } from '#src/ffi/pipe.js';
import { type Check, outcome } from '../check.js';
import { hugeOffset, hugeText, largeSize } from '../sample.js';
import { MAP, PROT, SEEK, lock, mapped, readAligned, seek, sendFile, splice } from '../syscalls.js';

const page = 4096;
/** Offsets and lengths: within a page, over several, over the end, at the end, beyond. */
const places: readonly (readonly [number, number])[] = [
  [0, 10],
  [page - 3, 7],
  [123_457, 300_001],
  [1_048_576, 1_048_576],
  [largeSize - 10, 100],
  [largeSize - 1, 1],
  [largeSize, 100],
  [largeSize + page, 100],
];

function withFile<T>(root: string, name: string, use: (fd: number) => T, flags = 0): T {
  const fd = openSync(join(root, 'contents', name), constants.O_RDONLY | flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

function digest(bytes: Uint8Array): string {
  return `${bytes.length} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
}

/** Runs with a new file to write to. @returns the digest of what was written */
function intoFile(use: (fd: number) => unknown): unknown[] {
  const folder = mkdtempSync(join(tmpdir(), 'siphon-posix-'));
  try {
    const path = join(folder, 'copy');
    const fd = openSync(path, 'w');
    const result = use(fd);
    closeSync(fd);
    return [result, digest(readFileSync(path))];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Splices as much as a new pipe takes at once. @returns what came out of the pipe */
function spliced(fd: number, offset: number, length: number): string {
  const pipe = openPipe();
  try {
    const bytes = Buffer.alloc(splice(fd, offset, pipe.write, length));
    return digest(bytes.subarray(0, readSync(pipe.read, bytes)));
  } finally {
    closeSync(pipe.read);
    closeSync(pipe.write);
  }
}

export const contentChecks: readonly Check[] = [
  {
    name: 'reads anywhere, and across the end',
    observe: (root) =>
      withFile(root, 'large', (fd) =>
        places.map(([offset, length]) => digest(readAt(fd, offset, length))),
      ),
  },
  {
    name: 'reads in order to the end',
    observe: (root) =>
      ['large', 'page', 'tiny', 'empty'].map((name) =>
        digest(readFileSync(join(root, 'contents', name))),
      ),
  },
  {
    name: 'offsets beyond 2^31',
    observe: (root) =>
      withFile(root, 'huge', (fd) => [
        readAt(fd, hugeOffset, hugeText.length).toString(),
        readAt(fd, hugeOffset - 3, 5).toString('latin1'),
        readAt(fd, 2 ** 31 - 2, 4),
        readAt(fd, hugeOffset + page, 10).length,
        seek(fd, 0, SEEK.END) - hugeOffset,
      ]),
    expected: [hugeText, `\0\0\0${hugeText.slice(0, 2)}`, Buffer.alloc(4), 0, page],
  },
  {
    name: 'data and holes: the whole may be data, what is a hole is zero',
    observe: (root) => [
      withFile(root, 'large', (fd) => [
        seek(fd, 5, SEEK.DATA),
        seek(fd, 5, SEEK.HOLE),
        outcome(() => seek(fd, largeSize, SEEK.DATA)),
        outcome(() => seek(fd, largeSize, SEEK.HOLE)),
        outcome(() => seek(fd, -1)),
      ]),
      withFile(root, 'huge', (fd) => {
        const data = seek(fd, 0, SEEK.DATA);
        return data <= hugeOffset && seek(fd, hugeOffset, SEEK.HOLE) > hugeOffset;
      }),
      withFile(root, 'empty', (fd) => outcome(() => seek(fd, 0, SEEK.DATA))),
    ],
    expected: [[5, largeSize, 'ENXIO', 'ENXIO', 'EINVAL'], true, 'ENXIO'],
  },
  {
    name: 'mmap, private and shared, with zeros after the end',
    observe: (root) =>
      withFile(root, 'large', (fd) =>
        [MAP.PRIVATE, MAP.SHARED].map((flags) => {
          const offset = Math.floor(largeSize / page) * page - 2 * page;
          const map = { fd, length: 3 * page, protection: PROT.READ, flags, offset };
          return mapped(map, (bytes) => [
            digest(bytes),
            bytes.subarray(largeSize - offset).every((byte) => byte === 0),
          ]);
        }),
      ),
  },
  {
    name: 'mmap that would write into the file is refused',
    observe: (root) =>
      withFile(root, 'large', (fd) => {
        const map = { fd, length: page, flags: MAP.SHARED, protection: PROT.READ | PROT.WRITE };
        return outcome(() => mapped(map, () => 'mapped'));
      }),
    expected: 'EACCES',
  },
  {
    name: 'sendfile',
    observe: (root) =>
      withFile(root, 'large', (fd) => intoFile((out) => sendFile(out, fd, 777, 500_000))),
  },
  {
    name: 'splice into a pipe',
    observe: (root) => withFile(root, 'large', (fd) => spliced(fd, 777, 50_000)),
  },
  {
    name: 'O_DIRECT, across the end too',
    observe: (root) =>
      withFile(
        root,
        'large',
        (fd) =>
          [
            0,
            8 * page,
            Math.floor(largeSize / page) * page - page,
            Math.ceil(largeSize / page) * page,
          ].map((offset) => digest(readAligned(fd, 4 * page, offset))),
        constants.O_DIRECT,
      ),
  },
  {
    name: 'locks',
    observe: (root) =>
      withFile(root, 'tiny', (one) =>
        withFile(root, 'tiny', (other) => {
          lock(one, 'shared');
          lock(other, 'shared');
          return outcome(() => lock(other, 'exclusive'));
        }),
      ),
    expected: 'EAGAIN',
  },
  {
    name: 'programs and scripts run from it',
    observe: (root) => {
      execFileSync(join(root, 'contents/program'));
      return execFileSync(join(root, 'contents/script'), { encoding: 'utf8' });
    },
    expected: 'script\n',
  },
];

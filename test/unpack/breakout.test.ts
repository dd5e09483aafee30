import { mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorCode } from '#src/common/errors.js';
import { unpackLayer } from '#src/unpack/unpack-layer.js';
import { type TarPiece, dir, file, hardlink, symlink, tarOf } from '../index/support/tar-bytes.js';
import {
  inPieces,
  listing,
  temporaryFolder,
  unpackPieces,
  unpackingMissing,
} from './support/unpacked.js';

const skip = unpackingMissing() !== undefined;

/**
 * The world around a root: `outside/secret` and `outside/folder`, beside the root. A tar knows the
 * outside as `../outside`, or by its absolute path.
 */
interface World {
  root: string;
  outside: string;
}

interface Case {
  name: string;
  tar: (world: World) => TarPiece[];
  /** What is in the root afterwards, or that it is refused. */
  expect: ((world: World) => string[]) | 'invalid';
}

const SECRET = 'nobody may change this';
const SECRET_MODE = 0o640;

function makeWorld(): World {
  const folder = temporaryFolder();
  const world = { root: join(folder, 'root'), outside: join(folder, 'outside') };
  mkdirSync(world.root);
  mkdirSync(join(world.outside, 'folder'), { recursive: true });
  writeFileSync(join(world.outside, 'secret'), SECRET, { mode: SECRET_MODE });
  return world;
}

function expectUntouched({ outside }: World): void {
  expect(listing(outside)).toEqual(['d folder', 'f secret']);
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe(SECRET);
  const { mode, uid, nlink } = statSync(join(outside, 'secret'));
  expect({ mode: mode & 0o7777, uid, nlink }).toEqual({ mode: SECRET_MODE, uid: 0, nlink: 1 });
}

/** The folders that lead to an absolute path, as they appear inside the root. */
function inside(path: string): string[] {
  const parts = path.split('/').filter(Boolean);
  return parts.map((_, n) => `d ${parts.slice(0, n + 1).join('/')}`);
}

const change = { mode: 0o777, uid: 7, gid: 7 };

const CASES: Case[] = [
  {
    name: 'a name that goes up',
    tar: () => [file('../outside/secret', 'x'), file('../../../../new', 'x')],
    expect: () => ['f new', 'd outside', 'f outside/secret'],
  },
  {
    name: 'an absolute name',
    tar: ({ outside }) => [file(`${outside}/secret`, 'x')],
    expect: ({ outside }) => [...inside(outside), `f ${outside.slice(1)}/secret`],
  },
  {
    name: 'a name that goes up in the middle',
    tar: () => [dir('a'), file('a/../../outside/secret', 'x')],
    expect: () => ['d a', 'd outside', 'f outside/secret'],
  },
  {
    name: 'a file through a relative symlink that goes up and out',
    tar: () => [symlink('out', '../outside'), file('out/secret', 'x')],
    expect: () => ['l out -> ../outside', 'd outside', 'f outside/secret'],
  },
  {
    name: 'a file through an absolute symlink',
    tar: ({ outside }) => [symlink('out', outside), file('out/secret', 'x')],
    expect: ({ outside }) =>
      [`l out -> ${outside}`, ...inside(outside), `f ${outside.slice(1)}/secret`].toSorted(byPath),
  },
  {
    name: 'a file through a chain of symlinks',
    tar: () => [
      symlink('one', 'two'),
      symlink('two', '/three'),
      symlink('three', '../../outside'),
      file('one/secret', 'x'),
    ],
    expect: () => [
      'l one -> two',
      'd outside',
      'f outside/secret',
      'l three -> ../../outside',
      'l two -> /three',
    ],
  },
  {
    name: 'a file through a symlink in a folder that leads back to the root and further',
    tar: () => [dir('a'), symlink('a/up', '../..'), file('a/up/outside/secret', 'x')],
    expect: () => ['d a', 'l a/up -> ../..', 'd outside', 'f outside/secret'],
  },
  {
    name: 'a folder in place of what a symlink points to',
    tar: () => [symlink('out', '../outside'), dir('out', change)],
    expect: () => ['d out'],
  },
  {
    name: 'a file in place of a symlink',
    tar: () => [symlink('link', '../outside/secret'), file('link', 'x', change)],
    expect: () => ['f link'],
  },
  {
    name: 'symlinks in a circle',
    tar: () => [symlink('a', 'b'), symlink('b', 'a'), file('a/file', 'x')],
    expect: 'invalid',
  },
  {
    name: 'a file below a file',
    tar: () => [file('a', 'x'), file('a/b', 'x')],
    expect: 'invalid',
  },
  {
    name: 'a hard link to a file outside, going up',
    tar: () => [hardlink('link', '../outside/secret')],
    expect: 'invalid',
  },
  {
    name: 'a hard link to a file outside, absolute',
    tar: ({ outside }) => [hardlink('link', `${outside}/secret`)],
    expect: 'invalid',
  },
  {
    name: 'a hard link through a symlink to the outside',
    tar: () => [symlink('out', '../outside'), hardlink('link', 'out/secret')],
    expect: 'invalid',
  },
  {
    name: 'a hard link that lies behind a symlink to the outside',
    tar: () => [file('mine', 'x'), symlink('out', '../outside'), hardlink('out/link', 'mine')],
    expect: () => ['f mine', 'l out -> ../outside', 'd outside', 'f outside/link'],
  },
  {
    name: 'a hard link to a symlink to the outside, whose header describes a file',
    tar: ({ outside }) => [symlink('link', `${outside}/secret`), hardlink('again', 'link', change)],
    expect: ({ outside }) => [`l again -> ${outside}/secret`, `l link -> ${outside}/secret`],
  },
  {
    name: 'a file over a hard link to a symlink to the outside',
    tar: ({ outside }) => [
      symlink('link', `${outside}/secret`),
      hardlink('again', 'link'),
      file('again', 'x', change),
    ],
    expect: ({ outside }) => ['f again', `l link -> ${outside}/secret`],
  },
  {
    name: 'a hard link to itself',
    tar: () => [file('a', 'x'), hardlink('a', 'a')],
    expect: 'invalid',
  },
  {
    name: 'a hard link to a folder',
    tar: () => [dir('a'), hardlink('b', 'a')],
    expect: 'invalid',
  },
  {
    name: 'a hard link to the root',
    tar: () => [hardlink('b', '/')],
    expect: 'invalid',
  },
  ...['.wh.', '.wh..', '.wh...'].map((name): Case => ({
    name: `the whiteout ${name}`,
    tar: () => [dir('a'), file(`a/${name}`)],
    expect: 'invalid',
  })),
  {
    name: 'names that only begin like whiteouts in folders',
    tar: () => [dir('.wh.a'), file('x/.wh.a/b', 'x')].slice(1),
    expect: () => ['d x', 'd x/.wh.a', 'f x/.wh.a/b'],
  },
  {
    name: 'a symlink without a target',
    tar: () => [symlink('a', '')],
    expect: 'invalid',
  },
  {
    name: 'a name longer than a file system takes',
    tar: () => [file('a', 'x', { pax: { path: 'n'.repeat(256) } })],
    expect: 'invalid',
  },
];

const MERGED_CASES: Case[] = [
  {
    name: 'a whiteout behind a symlink to the outside',
    tar: () => [symlink('out', '../outside'), file('out/.wh.secret')],
    expect: () => ['l out -> ../outside', 'd outside'],
  },
  {
    name: 'a whiteout that goes up',
    tar: () => [file('../outside/.wh.secret'), file('../.wh.outside')],
    expect: () => [],
  },
  {
    name: 'a whiteout of a symlink to the outside',
    tar: () => [symlink('a/out', '../../outside'), file('.wh.a')],
    expect: () => ['d a', 'l a/out -> ../../outside'],
  },
  {
    name: 'an opaque mark behind a symlink to the outside',
    tar: () => [symlink('out', '../outside'), file('out/.wh..wh..opq')],
    expect: () => ['l out -> ../outside', 'd outside'],
  },
];

describe.skipIf(skip)('unpackLayer keeps to its root: needs root', () => {
  describe.each(['overlay', 'merged'] as const)('%s form', (form) => {
    it.each(form === 'merged' ? [...CASES, ...MERGED_CASES] : CASES)('$name', async (one) => {
      const world = makeWorld();
      const unpacking = unpackPieces(one.tar(world), { target: world.root, form });
      if (one.expect === 'invalid') {
        await expect(unpacking).rejects.toSatisfy((error) => errorCode(error) === 'invalid');
      } else {
        await unpacking;
        expect(listing(world.root)).toEqual(one.expect(world));
      }
      expectUntouched(world);
    });
  });

  it('removes no more than a link where a layer below has one to the outside', async () => {
    const world = makeWorld();
    symlinkSync('../outside', join(world.root, 'out'));
    const options = { target: world.root, form: 'merged' } as const;
    await unpackPieces([file('.wh.out')], options);
    expect(listing(world.root)).toEqual([]);
    expectUntouched(world);
  });

  it('stays inside while somebody swaps a folder for a symlink to the outside', async () => {
    const world = makeWorld();
    const files = Array.from({ length: 3000 }, (_, n) => file(`d${n % 3}/file-${n}`, 'x'));
    mkdirSync(join(world.root, 'd0'));
    symlinkSync('../outside/folder', join(world.root, 'link'));
    const over = new AbortController();
    const unpacking = unpackLayer({
      source: inPieces(tarOf(...files), 4096),
      target: world.root,
      form: 'merged',
    }).finally(() => over.abort());
    unpacking.catch(() => undefined);
    while (!over.signal.aborted) {
      swap(join(world.root, 'd0'), join(world.root, 'link'));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await unpacking.catch(() => undefined);
    expectUntouched(world);
  });
});

function swap(one: string, other: string): void {
  try {
    renameSync(one, `${one}.aside`);
    renameSync(other, one);
    renameSync(`${one}.aside`, other);
  } catch {
    // The unpacking made or removed one of them meanwhile.
  }
}

function byPath(a: string, b: string): number {
  const path = (line: string): string => line.slice(2).replace(/ ->.*/, '');
  return path(a) < path(b) ? -1 : 1;
}

import { describe, expect, it } from 'vitest';
import { MergedTree, type TreeLayer } from '#src/fuse/merged-tree.js';
import type { Inode } from '#src/index/layer-model.js';

/** A layer as nested objects: `null` is a whiteout, text a file, an object a directory. */
type Tree = { [name: string]: Tree | string | null };
const opaque = '#opaque';
const implicit = '#implicit';

function layerOf(tree: Tree, uid: number): TreeLayer {
  const nodes: { inode: Inode; tree: Tree | string | null }[] = [];
  const add = (node: Tree | string | null): number => {
    const mode = node === null ? 0o020000 : typeof node === 'string' ? 0o100644 : 0o040755;
    const common = { nlink: 2, uid, gid: 0, size: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 };
    const inode = { ...common, ino: nodes.length + 1, mode, rdevMajor: 0, rdevMinor: 0 };
    nodes.push({ inode, tree: node });
    return inode.ino;
  };
  const children = new Map<number, { name: Buffer; position: number; inode: Inode }[]>();
  const fill = (ino: number, of: Tree): void => {
    const names = Object.keys(of).filter((name) => !name.startsWith('#'));
    const entries = names.map((name, at) => {
      const child = add(of[name] ?? null);
      return { name: Buffer.from(name), position: at + 1, inode: nodeOf(child).inode };
    });
    children.set(ino, entries);
    for (const { inode } of entries) {
      const node = nodeOf(inode.ino).tree;
      if (node !== null && typeof node === 'object') fill(inode.ino, node);
    }
  };
  const nodeOf = (ino: number): { inode: Inode; tree: Tree | string | null } => {
    const node = nodes[ino - 1];
    if (node === undefined) throw new Error(`no inode ${ino}`);
    return node;
  };
  fill(add(tree), tree);
  const has = (ino: number, mark: string): boolean => {
    const node = nodeOf(ino).tree;
    return node !== null && typeof node === 'object' && mark in node;
  };
  return {
    info: { inodeCount: nodes.length, hasXattrs: true },
    lookup: (parent, name) => children.get(parent)?.find((one) => one.name.equals(name))?.inode,
    inode: (ino) => nodes[ino - 1]?.inode,
    readdir: (ino, after, limit) => (children.get(ino) ?? []).slice(after, after + limit),
    xattr: (ino) => (has(ino, opaque) ? Buffer.from('y') : undefined),
    isImplicit: (ino) => has(ino, implicit),
  };
}

/** The union as nested objects; files are the uid of their layer. */
function show(tree: MergedTree, node = tree.root): unknown {
  if ((tree.attributes(node).mode & 0o170000) !== 0o040000) return tree.attributes(node).uid;
  return Object.fromEntries(
    tree.entries(node).map(({ name }) => {
      const child = tree.lookup(node, name);
      return [name.toString(), child === undefined ? 'lost' : show(tree, child)];
    }),
  );
}

/** Layers topmost first; the topmost has uid 1. */
function merge(...trees: Tree[]): MergedTree {
  return new MergedTree(trees.map((tree, at) => layerOf(tree, at + 1)));
}

describe('MergedTree', () => {
  it.each<[string, Tree[], unknown]>([
    ['joins directories', [{ d: { a: '' } }, { d: { b: '' }, c: '' }], { d: { a: 1, b: 2 }, c: 2 }],
    ['prefers the upper file', [{ f: '' }, { f: '' }], { f: 1 }],
    ['hides what a whiteout names', [{ f: null }, { f: '', g: '' }], { g: 2 }],
    ['hides a directory', [{ d: null }, { d: { x: '' } }], {}],
    ['shows what is above a whiteout', [{ f: '' }, { f: null }, { f: '' }], { f: 1 }],
    ['lets a directory come back empty', [{ d: {} }, { d: null }, { d: { x: '' } }], { d: {} }],
    [
      'replaces a file by a directory',
      [{ d: { a: '' } }, { d: '' }, { d: { b: '' } }],
      { d: { a: 1 } },
    ],
    ['replaces a directory by a file', [{ d: '' }, { d: { x: '' } }], { d: 1 }],
    [
      'ends at an opaque directory',
      [{ d: { [opaque]: {}, a: '' } }, { d: { b: '' } }],
      { d: { a: 1 } },
    ],
    [
      'ends below an opaque directory in the middle',
      [{ d: { a: '' } }, { d: { [opaque]: {}, b: '' } }, { d: { c: '' } }],
      { d: { a: 1, b: 2 } },
    ],
    ['ends at an opaque root', [{ [opaque]: {}, a: '' }, { b: '' }], { a: 1 }],
  ])('%s', (_, layers, expected) => {
    expect(show(merge(...layers))).toEqual(expected);
  });

  it('takes attributes that no entry of the upper layer describes from below', () => {
    const tree = merge({ d: { [implicit]: {}, a: '' } }, { d: {} });
    const node = tree.resolve([Buffer.from('d')]);
    expect(node && tree.attributes(node)).toMatchObject({ uid: 2, nlink: 1 });
  });

  it('gives every inode a number of its own', () => {
    const tree = merge({ a: '', b: {} }, { c: '', d: '' });
    const numbers = ['a', 'b', 'c', 'd'].map((name) => {
      const node = tree.resolve([Buffer.from(name)]);
      return node && tree.attributes(node).ino;
    });
    expect(new Set([...numbers, tree.attributes(tree.root).ino]).size).toBe(5);
  });

  it('finds nothing below a file', () => {
    expect(merge({ f: '' }).resolve([Buffer.from('f'), Buffer.from('x')])).toBeUndefined();
  });
});

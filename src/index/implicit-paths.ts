/** Paths of directories that no entry describes, put together from names as they are asked for. */

import { MAX_DEPTH, MAX_NAME, MAX_PATH } from './byte-path.js';
import { IndexDamage, bytesOf, integerOf, shown } from './index-damage.js';
import { rootIno } from './layer-model.js';
import type { ByteString } from './tar-header.js';

/** Paths that are remembered, at most 4 KiB each: the next one asked for mostly begins with one of them. */
const MAX_REMEMBERED = 1024;

/** What the index says of a directory: any value may be of any kind. */
type RowOf = (ino: number) => [parent: unknown, name: unknown] | undefined;

export class ImplicitPaths {
  readonly #rowOf: RowOf;
  readonly #remembered = new Map<number, ByteString>([[rootIno, '']]);

  constructor(rowOf: RowOf) {
    this.#rowOf = rowOf;
  }

  /** From the root, without a leading slash. @throws IndexDamage where the rows lead nowhere */
  of(ino: number): ByteString {
    const names: ByteString[] = [];
    let at = ino;
    let above = this.#remembered.get(at);
    while (above === undefined) {
      const row = this.#rowOf(at);
      if (row === undefined || names.length > MAX_DEPTH)
        throw new IndexDamage(`directory ${ino} has no path, expected one from the root`);
      names.push(nameOf(at, row[1]));
      at = integerOf(`the parent of directory ${at}`, row[0], 1);
      above = this.#remembered.get(at);
    }
    const path = [...(above === '' ? [] : [above]), ...names.toReversed()].join('/');
    if (path.length > MAX_PATH)
      throw new IndexDamage(
        `directory ${ino} has a path of ${path.length} bytes, expected at most ${MAX_PATH}`,
      );
    this.#remember(ino, path);
    return path;
  }

  #remember(ino: number, path: ByteString): void {
    if (this.#remembered.size >= MAX_REMEMBERED) {
      this.#remembered.clear();
      this.#remembered.set(rootIno, '');
    }
    this.#remembered.set(ino, path);
  }
}

function nameOf(ino: number, value: unknown): ByteString {
  const name = bytesOf(`the name of directory ${ino}`, value, 1, MAX_NAME).toString('latin1');
  if (name !== '.' && name !== '..' && !/[/\0]/.test(name)) return name;
  throw new IndexDamage(
    `the name of directory ${ino} is ${shown(name)}, expected one that a directory can have`,
  );
}

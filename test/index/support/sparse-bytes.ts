/** Sparse files in every format that tars have them in. */

import { headerBytes, paxHeader, paxRecord, pieceBytes } from './tar-bytes.js';

export const SPARSE_FORMATS = ['old GNU', '0.0', '0.1', '1.0'] as const;
export type SparseFormat = (typeof SPARSE_FORMATS)[number];

export interface Piece {
  offset: number;
  data: Buffer;
}

export interface SparseFile {
  path: string;
  size: number;
  pieces: readonly Piece[];
}

/** All blocks of one file. */
export function sparseFile(format: SparseFormat, sparse: SparseFile): Buffer {
  const content = Buffer.concat(sparse.pieces.map(({ data }) => data));
  const { path, size } = sparse;
  switch (format) {
    case 'old GNU':
      return oldFile(sparse, content);
    case '0.0':
      return Buffer.concat([paxHeaderOf(versionZero(sparse)), pieceBytes({ path, content })]);
    case '0.1': {
      const map = sparse.pieces.map(({ offset, data }) => `${offset},${data.length}`).join(',');
      const pax = {
        'GNU.sparse.size': `${size}`,
        'GNU.sparse.numblocks': `${sparse.pieces.length}`,
        'GNU.sparse.name': path,
        'GNU.sparse.map': map,
        'GNU.sparse.major': '0',
        'GNU.sparse.minor': '1',
      };
      return pieceBytes({ path: 'GNUSparseFile.1/x', content, pax });
    }
    case '1.0': {
      const pax = {
        'GNU.sparse.major': '1',
        'GNU.sparse.minor': '0',
        'GNU.sparse.name': path,
        'GNU.sparse.realsize': `${size}`,
      };
      const map = padded(Buffer.from(leadingMap(sparse)));
      return pieceBytes({
        path: 'GNUSparseFile.1/x',
        content: Buffer.concat([map, content]),
        pax,
      });
    }
  }
}

function versionZero({ size, pieces }: SparseFile): string {
  const records = pieces.flatMap(({ offset, data }) => [
    paxRecord('GNU.sparse.offset', `${offset}`),
    paxRecord('GNU.sparse.numbytes', `${data.length}`),
  ]);
  const version = [paxRecord('GNU.sparse.major', '0'), paxRecord('GNU.sparse.minor', '0')];
  const facts = [
    paxRecord('GNU.sparse.size', `${size}`),
    paxRecord('GNU.sparse.numblocks', `${pieces.length}`),
  ];
  return [...facts, ...version, ...records].join('');
}

function paxHeaderOf(records: string): Buffer {
  return records === ''
    ? paxHeader({})
    : pieceBytes({ path: 'PaxHeader', type: 'x', content: records });
}

function leadingMap({ pieces }: SparseFile): string {
  const numbers = pieces.flatMap(({ offset, data }) => [offset, data.length]);
  return [pieces.length, ...numbers].map((value) => `${value}\n`).join('');
}

/** Four pieces in the header, 21 in each block behind it. */
function oldFile({ path, size, pieces }: SparseFile, content: Buffer): Buffer {
  const inHeader = pieces.slice(0, 4);
  const header = headerBytes(
    {
      path,
      type: 'S',
      magic: 'ustar  \0',
      edit: (block) => {
        writePieces(block, 386, inHeader);
        block[482] = pieces.length > 4 ? 1 : 0;
        block.write(octal(size), 483, 'latin1');
      },
    },
    content.length,
  );
  const blocks: Buffer[] = [];
  for (let at = 4; at < pieces.length; at += 21) {
    const block = Buffer.alloc(512);
    writePieces(block, 0, pieces.slice(at, at + 21));
    block[504] = pieces.length > at + 21 ? 1 : 0;
    blocks.push(block);
  }
  return Buffer.concat([header, ...blocks, padded(content)]);
}

function writePieces(block: Buffer, at: number, pieces: readonly Piece[]): void {
  for (const [n, { offset, data }] of pieces.entries()) {
    block.write(octal(offset), at + 24 * n, 'latin1');
    block.write(octal(data.length), at + 24 * n + 12, 'latin1');
  }
}

function octal(value: number): string {
  return `${value.toString(8).padStart(11, '0')}\0`;
}

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

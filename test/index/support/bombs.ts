/** Layers of which a few bytes stand for very many. */

import { headerBytes } from './tar-bytes.js';

/** RFC 8878, section 3.1.1: the magic number, a descriptor that says nothing, a window of 2 MiB. */
const FRAME = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x58]);
const BLOCK_SIZE = 128 << 10;
const RAW = 0;
const RLE = 1;

/** A zstd layer of one file of zeros: 4 bytes for each 128 KiB. */
export function zstdBomb(size: number): Buffer {
  const header = headerBytes({
    path: 'zeros',
    edit: (bytes) => {
      bytes.fill(0, 124, 136);
      bytes[124] = 0x80;
      bytes.writeBigUInt64BE(BigInt(size), 128);
    },
  });
  const zeros = Buffer.concat([block(RLE, BLOCK_SIZE), Buffer.alloc(1)]);
  return Buffer.concat([
    FRAME,
    block(RAW, header.length),
    header,
    Buffer.alloc((size / BLOCK_SIZE) * zeros.length, zeros),
    block(RAW, 1024, true),
    Buffer.alloc(1024),
  ]);
}

/** A block's header. */
function block(type: number, size: number, isLast = false): Buffer {
  const bytes = Buffer.alloc(3);
  bytes.writeUIntLE((size << 3) | (type << 1) | (isLast ? 1 : 0), 0, 3);
  return bytes;
}

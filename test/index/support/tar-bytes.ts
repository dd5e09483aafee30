/** Tars made byte by byte, so that a test can say exactly what is in them. */

export interface TarPiece {
  path: string;
  type?: string;
  content?: Buffer | string;
  linkPath?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  major?: number;
  minor?: number;
  /** What the header says instead of the content's length. */
  size?: number;
  /** PAX records before the header. */
  pax?: Record<string, string>;
  magic?: string;
  prefix?: string;
  /** Changes the header after its fields are written and before its checksum is. */
  edit?: (header: Buffer) => void;
}

/** A complete tar: its pieces, then two blocks of zeros. Strings are latin1. */
export function tarOf(...pieces: TarPiece[]): Buffer {
  return Buffer.concat([...pieces.map(pieceBytes), Buffer.alloc(1024)]);
}

export const dir = (path: string, more: Partial<TarPiece> = {}): TarPiece => ({
  path,
  type: '5',
  mode: 0o755,
  ...more,
});
export const file = (
  path: string,
  content: Buffer | string = '',
  more: Partial<TarPiece> = {},
): TarPiece => ({
  path,
  content,
  ...more,
});
export const symlink = (path: string, linkPath: string): TarPiece => ({
  path,
  type: '2',
  linkPath,
});
export const hardlink = (
  path: string,
  linkPath: string,
  more: Partial<TarPiece> = {},
): TarPiece => ({
  path,
  type: '1',
  linkPath,
  ...more,
});

/** Header, content and padding of one piece, with its PAX header before it. */
export function pieceBytes(piece: TarPiece): Buffer {
  const { content: given = '' } = piece;
  const content = typeof given === 'string' ? Buffer.from(given, 'latin1') : given;
  const parts = piece.pax === undefined ? [] : [paxHeader(piece.pax)];
  return Buffer.concat([...parts, headerBytes(piece, content.length), padded(content)]);
}

export function paxHeader(records: Record<string, string>, type = 'x'): Buffer {
  const text = Object.entries(records)
    .map(([key, value]) => paxRecord(key, value))
    .join('');
  return pieceBytes({ path: 'PaxHeader', type, content: text });
}

/** One record, whose length counts its own digits. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length)
    length = String(length).length + rest.length;
  return `${length}${rest}`;
}

export function gnuLong(type: 'L' | 'K', value: string): Buffer {
  return pieceBytes({ path: '././@LongLink', type, content: `${value}\0`, magic: 'ustar  \0' });
}

export function headerBytes(piece: TarPiece, contentSize = 0): Buffer {
  const header = Buffer.alloc(512);
  header.write(piece.path.slice(0, 100), 0, 'latin1');
  writeOctal(header, 100, 8, piece.mode ?? 0o644);
  writeOctal(header, 108, 8, piece.uid ?? 0);
  writeOctal(header, 116, 8, piece.gid ?? 0);
  writeOctal(header, 124, 12, piece.size ?? contentSize);
  writeOctal(header, 136, 12, piece.mtime ?? 0);
  header.write(piece.type ?? '0', 156, 'latin1');
  header.write((piece.linkPath ?? '').slice(0, 100), 157, 'latin1');
  header.write(piece.magic ?? 'ustar\x0000', 257, 'latin1');
  writeOctal(header, 329, 8, piece.major ?? 0);
  writeOctal(header, 337, 8, piece.minor ?? 0);
  header.write(piece.prefix ?? '', 345, 'latin1');
  piece.edit?.(header);
  writeChecksum(header);
  return header;
}

function writeOctal(header: Buffer, at: number, length: number, value: number): void {
  header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
}

function writeChecksum(header: Buffer): void {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

/**
 * What goes over a container's socket between its keeper and whoever is attached: frames of a kind
 * (one byte), a length (four bytes, big endian) and as many bytes of payload. Both ends are siphon's.
 */

import { SiphonError } from '../common/errors.js';

export type Frame =
  | { kind: 'input' | 'stdout' | 'stderr'; data: Buffer }
  /** Nothing more will be typed. */
  | { kind: 'input-end' }
  /** Of who is attached: the container shall wait where its output is not taken. */
  | { kind: 'hold' }
  /** To who is attached: the last that comes, for too much has waited to be taken. */
  | { kind: 'lagging' }
  /** In characters. */
  | { kind: 'resize'; columns: number; rows: number }
  | { kind: 'signal'; name: string }
  | { kind: 'exit'; code: number };

/** A kind's place is its number. */
const KINDS = [
  'input',
  'stdout',
  'stderr',
  'input-end',
  'resize',
  'signal',
  'exit',
  'hold',
  'lagging',
] as const;
const HEADER = 5;
/** Far above what a stream hands on at once; a bound for a damaged stream. */
const MAX_PAYLOAD = 4 * 1024 * 1024;

export function encodeFrame(frame: Frame): Buffer {
  const payload = payloadOf(frame);
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(KINDS.indexOf(frame.kind), 0);
  header.writeUInt32BE(payload.length, 1);
  return Buffer.concat([header, payload]);
}

/** Frames out of a byte stream that is cut anywhere. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);

  /** The frames that are whole by now. @throws SiphonError `corrupt` */
  push(chunk: Buffer): Frame[] {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const frames: Frame[] = [];
    while (this.#pending.length >= HEADER) {
      const length = this.#pending.readUInt32BE(1);
      if (length > MAX_PAYLOAD) throw malformed(`a frame of ${length} bytes`);
      if (this.#pending.length < HEADER + length) break;
      const payload = this.#pending.subarray(HEADER, HEADER + length);
      frames.push(frameOf(this.#pending.readUInt8(0), payload));
      this.#pending = this.#pending.subarray(HEADER + length);
    }
    return frames;
  }
}

function payloadOf(frame: Frame): Buffer {
  switch (frame.kind) {
    case 'input':
    case 'stdout':
    case 'stderr':
      return frame.data;
    case 'input-end':
    case 'hold':
    case 'lagging':
      return Buffer.alloc(0);
    case 'resize':
      return numbers(frame.columns, frame.rows);
    case 'signal':
      return Buffer.from(frame.name);
    case 'exit':
      return numbers(frame.code);
  }
}

function frameOf(number: number, payload: Buffer): Frame {
  const kind = KINDS[number];
  switch (kind) {
    case 'input':
    case 'stdout':
    case 'stderr':
      return { kind, data: payload };
    case 'input-end':
    case 'hold':
    case 'lagging':
      return { kind };
    case 'resize':
      return { kind, columns: numberAt(payload, 0), rows: numberAt(payload, 1) };
    case 'signal':
      return { kind, name: payload.toString('latin1') };
    case 'exit':
      return { kind, code: numberAt(payload, 0) };
    default:
      throw malformed(`a frame of kind ${number}`);
  }
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [position, value] of values.entries()) bytes.writeUInt32BE(value, position * 4);
  return bytes;
}

function numberAt(payload: Buffer, position: number): number {
  if (payload.length < (position + 1) * 4) throw malformed('a frame that is too short');
  return payload.readUInt32BE(position * 4);
}

function malformed(what: string): SiphonError {
  return new SiphonError('corrupt', `Cannot read from the container: it sent ${what}`);
}

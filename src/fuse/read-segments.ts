import { type FileHandle, open } from 'node:fs/promises';
import type { Segment } from '../index/layer-model.js';
import type { UnkeptSpan } from '../index/unkept-spans.js';

/**
 * Reads `segments` out of a span cache's data file.
 * @param contents at least as long as they are together
 * @returns how long that is
 * @throws the system error, or an Error where the file is too short
 */
export async function readSegments(
  path: string,
  segments: readonly Segment[],
  contents: Buffer,
): Promise<number> {
  const file = await open(path, 'r');
  let at = 0;
  try {
    for (const segment of segments) {
      const into = contents.subarray(at, at + segment.length);
      if (segment.kind === 'hole') into.fill(0);
      else await readWhole(file, into, { path, offset: segment.tarOffset });
      at += segment.length;
    }
  } finally {
    await file.close();
  }
  return at;
}

/** Writes what the spans have of `segments` over the same bytes in `contents`. */
export function fillFrom(
  spans: readonly UnkeptSpan[],
  segments: readonly Segment[],
  contents: Buffer,
): void {
  let at = 0;
  for (const segment of segments) {
    const into = contents.subarray(at, at + segment.length);
    if (segment.kind === 'data')
      for (const span of spans) copyOverlap(span, segment.tarOffset, into);
    at += segment.length;
  }
}

function copyOverlap({ tarOffset, bytes }: UnkeptSpan, intoOffset: number, into: Buffer): void {
  const from = Math.max(tarOffset, intoOffset);
  const to = Math.min(tarOffset + bytes.length, intoOffset + into.length);
  if (from < to) bytes.copy(into, from - intoOffset, from - tarOffset, to - tarOffset);
}

async function readWhole(
  file: FileHandle,
  into: Buffer,
  from: { path: string; offset: number },
): Promise<void> {
  for (let done = 0; done < into.length;) {
    const position = from.offset + done;
    const { bytesRead } = await file.read(into, done, into.length - done, position);
    if (bytesRead === 0) {
      throw new Error(`Cannot read "${from.path}" at ${position}: the file ends there`);
    }
    done += bytesRead;
  }
}

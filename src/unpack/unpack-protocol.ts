/** What an {@link UnpackThread} and its worker say to each other. Blocks travel by transfer, both ways. */

import type { ErrorCode } from '../common/errors.js';
import type { UnpackJob, UnpackedLayer } from './unpack-model.js';

export type ToUnpacker =
  | { kind: 'begin'; job: UnpackJob }
  /** The first `length` bytes of the block are the next of the blob. */
  | { kind: 'bytes'; block: ArrayBuffer; length: number }
  | { kind: 'end' }
  /** The caller gave up; the answer is `failed`, as soon as everything is closed. */
  | { kind: 'cancel' };

export type FromUnpacker =
  /** The block can be filled again. */
  | { kind: 'taken'; block: ArrayBuffer }
  | { kind: 'done'; layer: UnpackedLayer }
  /** Without a code it is a defect. */
  | {
      kind: 'failed';
      code: ErrorCode | undefined;
      message: string;
      hint: string | undefined;
      stack: string | undefined;
    };

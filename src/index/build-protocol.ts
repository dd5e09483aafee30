/** What {@link buildIndex} and its worker say to each other. Blocks travel by transfer, both ways. */

import type { ErrorCode } from '../common/errors.js';
import type { ExpectedLayer } from './expected-layer.js';
import type { LayerInfo } from './layer-model.js';

/** `workerData` of the worker. */
export interface BuildJob {
  path: string;
  spanSize: number | undefined;
  expected: ExpectedLayer | undefined;
}

export type ToBuilder =
  /** The first `length` bytes of the block are the next of the blob. */
  { kind: 'bytes'; block: ArrayBuffer; length: number } | { kind: 'end' };

export type FromBuilder =
  /** The block can be filled again. */
  | { kind: 'taken'; block: ArrayBuffer }
  | { kind: 'done'; info: LayerInfo }
  /** Without a code it is a defect. */
  | {
      kind: 'failed';
      code: ErrorCode | undefined;
      message: string;
      hint: string | undefined;
      stack: string | undefined;
    };

export declare class SpanCache implements Disposable {
  static open(
    directory: string,
    shape: Float64Array | { spanCount: number; tarSize: number },
  ): SpanCache;
  /** Sparse file, addressed by uncompressed offset. */
  readonly dataPath: string;
  readonly fd: number;
  /** One byte a span; non-zero = present. */
  readonly presence: SharedArrayBuffer;
  has(span: number): boolean;
  write(span: number, offset: number, bytes: Uint8Array): Promise<void>;
  presentBytes(): number;
  close(): void;
  [Symbol.dispose](): void;
}

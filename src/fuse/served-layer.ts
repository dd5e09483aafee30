/** A layer as the session serves it: an index to look into and a cache to read from. */
export interface ServedLayer {
  /** 1 to 2^32-1; never given to another layer while the mount lives. */
  number: number;
  /** A file that LayerIndex opens. */
  indexPath: string;
  /** The span cache's data file: the layer's tar, sparse, as long as the tar. */
  cachePath: string;
  /** One byte for a span; non-zero: the span's bytes are in the cache. */
  presence: SharedArrayBuffer;
  /** Four bytes for a span: when it was last read, in seconds since the epoch; absent where nobody asks. */
  used?: SharedArrayBuffer;
}

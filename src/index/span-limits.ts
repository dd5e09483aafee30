/** Uncompressed bytes between checkpoints. Larger spans make a smaller index and larger reads. */
export const DEFAULT_SPAN_SIZE = 2 << 20;
/** Most bytes that one span may hold, decoded or not: what a reader must take into memory at once. */
export const MAX_SPAN_SIZE = 64 << 20;
/**
 * Most decoded bytes between an entry point and the end of the last span of its group: what somebody who
 * reads one byte may have to wait for.
 */
export const MAX_GROUP_SIZE = 64 * 2 ** 30;

/** Most bytes that one span may hold, inflated or not: what a reader must take into memory at once. */
export const MAX_SPAN_SIZE = 64 << 20;

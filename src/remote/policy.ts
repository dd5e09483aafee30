/** How long remote work may take, and how often it is tried again. */

/** All in milliseconds. */
export interface RemoteTimeouts {
  /** Until a connection stands, TLS included. */
  connect: number;
  /** From the request (or the last piece of its body) until the answer's headers. */
  headers: number;
  /** Without a byte of the answer's body, or with hardly any. */
  idle: number;
  /** For one whole operation of bounded size, all attempts and waits included. */
  total: number;
}

export const defaultTimeouts: RemoteTimeouts = {
  connect: 10_000,
  headers: 30_000,
  idle: 30_000,
  total: 120_000,
};

/** Milliseconds until a host answers a read, while there are others to be asked instead. */
export const patienceAmongHosts = 10_000;

/** Exponential backoff with full jitter: each wait is random between 0 and the bound. */
export interface RetryPolicy {
  /** Attempts in all, the first included. */
  attempts: number;
  /** Bound of the first wait in ms; it doubles with each attempt. */
  firstDelay: number;
  /** Bound of any wait in ms, besides what a `Retry-After` asks for. */
  maxDelay: number;
  /** Bound of what a `Retry-After` asks for, in ms; more of it is not obeyed. */
  maxRetryAfter: number;
  /** 0 <= value < 1. */
  random: () => number;
}

export const defaultRetry: RetryPolicy = {
  attempts: 5,
  firstDelay: 200,
  maxDelay: 10_000,
  maxRetryAfter: 60_000,
  random: Math.random,
};

/** For reads whose caller bounds the time: they wait for a registry that is away to come back. */
export const untilCancelled = {
  retry: { attempts: Number.POSITIVE_INFINITY, maxDelay: 2000 },
  timeouts: { total: 3_600_000 },
} as const;

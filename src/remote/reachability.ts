/**
 * Telling a host that is slow from one that is gone, soon enough for somebody who waits.
 *
 * A host may take its time for an answer. One that says nothing for {@link ReachLimits.quiet} is asked
 * for a fresh connection; as long as it takes one the wait goes on, and if it does not, it is gone: its
 * packets are dropped, whether on a new connection or on one that stood. A host that refuses connections
 * is gone after {@link ReachLimits.refused}, for it may just be starting again.
 *
 * That a host is gone ends what waits for it and all retries, and holds for a moment, so that work of
 * several steps ends with the first of them.
 */

import { connect } from 'node:net';
import type { Exchange, HttpRequest, HttpResponse } from './http-exchange.js';
import { proxyFor } from './proxy.js';
import { RemoteError, connectionCause, isUnreachable } from './remote-error.js';
import { Watchdog } from './watchdog.js';

/** All in milliseconds. */
export interface ReachLimits {
  /** Silence after which a host is asked for a connection. */
  quiet: number;
  /** Until that connection stands. */
  connect: number;
  /** From the first refused connection on. */
  refused: number;
  /** How long a host that is gone is not asked again. */
  pause: number;
}

export const defaultReach: ReachLimits = { quiet: 3000, connect: 4500, refused: 2000, pause: 1000 };

/** What is known of a host that does not answer. */
interface Absence {
  since: number;
  /** The end, and until when it holds. */
  gone?: { error: RemoteError; until: number };
}

/**
 * `exchange`, failing soon with a permanent RemoteError `unavailable` where the host is gone.
 * @param now milliseconds; any origin
 */
export function noticingAbsence(
  exchange: Exchange,
  limits: ReachLimits,
  now: () => number = () => performance.now(),
): Exchange {
  const absences = new Map<string, Absence>();
  const declareGone = (origin: string, error: RemoteError): void => {
    const since = absences.get(origin)?.since ?? now();
    absences.set(origin, { since, gone: { error, until: now() + limits.pause } });
  };
  return async (request) => {
    const { origin } = request.url;
    const absence = absences.get(origin);
    if (absence?.gone !== undefined && now() < absence.gone.until) throw absence.gone.error;
    if (absence !== undefined && now() - absence.since > forgetAfter) absences.delete(origin);
    const vigil = new Vigil(request, limits, (error) => declareGone(origin, error));
    try {
      const response = await vigil.wait(exchange({ ...request, signal: vigil.signal }));
      absences.delete(origin);
      return watched(response, vigil);
    } catch (error) {
      vigil[Symbol.dispose]();
      if (!isUnreachable(error) || error.permanent) throw error;
      const { since } = absences.get(origin) ?? { since: now() };
      if (now() - since < limits.refused) {
        absences.set(origin, { since });
        throw error;
      }
      const gone = permanently(error);
      declareGone(origin, gone);
      throw gone;
    }
  };
}

/** Failures farther apart than this, in milliseconds, have nothing to do with each other. */
const forgetAfter = 15_000;

/** Watches over the waits of one exchange, and aborts {@link signal} when its host is gone. */
class Vigil implements Disposable {
  readonly #watchdog: Watchdog;
  readonly #url: URL;
  readonly #limits: ReachLimits;
  readonly #onGone: (error: RemoteError) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #over = new AbortController();
  /** By the clock of `performance`; absent while nothing is waited for. */
  #waitingSince: number | undefined;
  #isAsking = false;

  constructor(
    { url, signal }: HttpRequest,
    limits: ReachLimits,
    onGone: (error: RemoteError) => void,
  ) {
    this.#watchdog = new Watchdog(signal);
    this.#url = url;
    this.#limits = limits;
    this.#onGone = onGone;
    this.#timer = setInterval(() => void this.#look(), limits.quiet / 3).unref();
  }

  get signal(): AbortSignal {
    return this.#watchdog.signal;
  }

  async wait<T>(answer: Promise<T>): Promise<T> {
    this.#waitingSince = performance.now();
    try {
      return await answer;
    } finally {
      this.#waitingSince = undefined;
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#over.abort();
    this.#watchdog[Symbol.dispose]();
  }

  async #look(): Promise<void> {
    const { quiet, connect: timeout } = this.#limits;
    const asked = this.#waitingSince;
    if (this.#isAsking || asked === undefined || performance.now() - asked < quiet) return;
    this.#isAsking = true;
    const problem = await connectionProblem(this.#url, timeout, this.#over.signal);
    this.#isAsking = false;
    // It may have answered meanwhile, and be silent again.
    if (problem === undefined || this.#waitingSince !== asked) return;
    const error = goneError(this.#url.host, problem);
    this.#onGone(error);
    this.#watchdog.watch(0, () => error);
  }
}

function watched(response: HttpResponse, vigil: Vigil): HttpResponse {
  return {
    ...response,
    body: watchedBody(response.body, vigil),
    discard: () => {
      vigil[Symbol.dispose]();
      response.discard();
    },
  };
}

async function* watchedBody(
  body: AsyncIterable<Uint8Array>,
  vigil: Vigil,
): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await vigil.wait(chunks.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    vigil[Symbol.dispose]();
    await chunks.return?.();
  }
}

/** Why no connection can be had, to the host or to the proxy before it; `undefined` where one can. */
function connectionProblem(
  url: URL,
  timeout: number,
  over: AbortSignal,
): Promise<string | undefined> {
  const { hostname, port, protocol } = proxyFor(url) ?? url;
  return new Promise((resolve) => {
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    const socket = connect({ host, port: Number(port) || (protocol === 'https:' ? 443 : 80) });
    const end = (problem?: string): void => {
      clearTimeout(timer);
      over.removeEventListener('abort', stop);
      socket.destroy();
      resolve(problem);
    };
    const stop = (): void => end();
    const timer = setTimeout(() => end('no answer, and no connection'), timeout);
    over.addEventListener('abort', stop, { once: true });
    socket.once('connect', () => end());
    socket.once('error', (error) => end(`no answer, and ${connectionCause(error)}`));
  });
}

function goneError(host: string, problem: string): RemoteError {
  return new RemoteError('unavailable', `Cannot reach "${host}": ${problem}`, {
    permanent: true,
    unreachable: true,
  });
}

function permanently(error: RemoteError): RemoteError {
  const { message, cause } = error;
  return new RemoteError('unavailable', message, { cause, permanent: true, unreachable: true });
}

/** One repository of a registry as something to send requests to: base URL, authorization, retries. */

import { type Logger, silentLogger } from '../common/log.js';
import { errorMessage } from '../common/errors.js';
import { type Access, Authenticator } from './authenticator.js';
import { type CredentialSource, storedCredentials } from './credentials.js';
import {
  type Exchange,
  type HttpClient,
  type HttpRequest,
  type HttpResponse,
  openHttpClient,
} from './http-exchange.js';
import { type RemoteTimeouts, type RetryPolicy, defaultRetry, defaultTimeouts } from './policy.js';
import { type ReachLimits, noticingAbsence } from './reachability.js';
import { followingRedirects } from './redirects.js';
import { type Reference, dialedHost, isLoopbackHost } from './reference.js';
import { withRetries } from './retry.js';

export interface EndpointOptions {
  reference: Reference;
  /** Implied for loopback hosts. */
  plainHttp?: boolean;
  /** Default: {@link storedCredentials}. */
  credentials?: CredentialSource;
  timeouts?: Partial<RemoteTimeouts>;
  retry?: Partial<RetryPolicy>;
  /** Gives a host up within seconds that is gone, for whoever has no time; default: never. */
  reach?: ReachLimits;
  log?: Logger;
}

export type EndpointRequest = Omit<HttpRequest, 'url'> & {
  /** Below `/v2/<repository>/`, or a whole URL that the registry gave. */
  target: string | URL;
  access: Access;
};

export class Endpoint {
  /** `host/repository`, for messages. */
  readonly name: string;
  readonly timeouts: RemoteTimeouts;
  readonly retry: RetryPolicy;
  readonly #client: HttpClient;
  readonly #base: URL;
  readonly #log: Logger;
  readonly #exchanges: Readonly<Record<Access, Exchange>>;

  constructor(options: EndpointOptions) {
    const { host, repository } = options.reference;
    this.name = `${host}/${repository}`;
    this.timeouts = { ...defaultTimeouts, ...options.timeouts };
    this.retry = { ...defaultRetry, ...options.retry };
    this.#log = options.log ?? silentLogger;
    this.#base = baseUrl(options.reference, options.plainHttp ?? isLoopbackHost(host));
    this.#client = openHttpClient(this.timeouts);
    const { reach } = options;
    const exchange = followingRedirects(
      reach === undefined ? this.#client.exchange : noticingAbsence(this.#client.exchange, reach),
    );
    const authenticator = new Authenticator({
      host,
      repository,
      origin: this.#base.origin,
      credentials: options.credentials ?? storedCredentials(),
      exchange,
      timeouts: this.timeouts,
      retry: this.retry,
      now: () => performance.now(),
    });
    this.#exchanges = {
      pull: authenticator.wrap(exchange, 'pull'),
      push: authenticator.wrap(exchange, 'push'),
    };
  }

  /** One attempt; any status is an answer. */
  async send(request: EndpointRequest): Promise<HttpResponse> {
    const { target, access, ...rest } = request;
    return this.#exchanges[access]({ ...rest, url: new URL(target, this.#base) });
  }

  /**
   * Repeats `attempt` as the retry policy says.
   * @param task as in `Cannot <task>: …`
   * @param bytes that come or go, where that is a matter of more than moments
   */
  async attempt<T>(
    task: string,
    signal: AbortSignal,
    attempt: (signal: AbortSignal) => Promise<T>,
    bytes = 0,
  ): Promise<T> {
    const { timeouts, retry } = this;
    const onRetry = (error: unknown, number: number): void => this.noteRetry(task, error, number);
    return withRetries({ timeouts, retry, signal, task, bytes, onRetry }, attempt);
  }

  /** Logs that attempt `number` at `task` failed and another follows. */
  noteRetry(task: string, error: unknown, number: number): void {
    this.#log.debug({ task, attempt: number, error: errorMessage(error) }, 'trying again');
  }

  /** Ends running requests too. */
  async close(): Promise<void> {
    await this.#client.close();
  }
}

function baseUrl(reference: Reference, plainHttp: boolean): URL {
  const scheme = plainHttp ? 'http' : 'https';
  return new URL(`${scheme}://${dialedHost(reference.host)}/v2/${reference.repository}/`);
}

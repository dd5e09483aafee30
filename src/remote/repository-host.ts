/** One host's copy of a repository: where its requests go, with whose authorization and certificates. */

import type { Digest } from '../common/digest.js';
import { type Access, Authenticator } from './authenticator.js';
import type { CredentialSource } from './credentials.js';
import type { Capability, HostConfig } from './hosts-file.js';
import {
  type Exchange,
  type HttpClient,
  type HttpRequest,
  type HttpResponse,
  openHttpClient,
} from './http-exchange.js';
import type { RemoteTimeouts, RetryPolicy } from './policy.js';
import { type ReachLimits, noticingAbsence } from './reachability.js';
import type { BlobHost } from './ranged-blob.js';
import { followingRedirects, rememberingTarget } from './redirects.js';
import { type Reference, dialedHost } from './reference.js';

export interface RepositoryHostOptions {
  reference: Reference;
  credentials: CredentialSource;
  timeouts: RemoteTimeouts;
  retry: RetryPolicy;
  reach?: ReachLimits;
  /** Milliseconds until a read is answered, where others may be asked instead; default: as of the timeouts. */
  patience?: number | undefined;
}

export type RepositoryRequest = Omit<HttpRequest, 'url'> & {
  /** Below the repository's own URL, or a whole URL that the host gave. */
  target: string | URL;
  access: Access;
};

export class RepositoryHost {
  /** As dialed, for messages. */
  readonly name: string;
  readonly capabilities: ReadonlySet<Capability>;
  /** Whether it answers anything at all, refusals included. */
  readonly probe: () => Promise<void>;
  readonly #client: HttpClient;
  readonly #base: URL;
  /** How a mirror is told whose repository is meant, as containerd does. */
  readonly #namespace: string | undefined;
  readonly #exchanges: Readonly<Record<Access, Exchange>>;

  /** Connects to nothing yet. */
  constructor(config: HostConfig, options: RepositoryHostOptions) {
    const { reference, credentials, timeouts, retry, reach, patience } = options;
    const { host, repository } = reference;
    const { protocol } = config.base;
    // Written as URLs are: lower case, without the scheme's own port.
    const isOwn = config.base.host === new URL(`${protocol}//${dialedHost(host)}`).host;
    this.name = config.base.host;
    this.capabilities = config.capabilities;
    this.#base = new URL(`${repository}/`, config.base);
    this.#namespace = isOwn ? undefined : host;
    this.#client = openHttpClient(timeouts, config.tls);
    const { origin } = this.#base;
    const plain = withHeaders(this.#client.exchange, origin, config.headers);
    const exchange = followingRedirects(
      reach === undefined ? plain : noticingAbsence(plain, reach),
    );
    const authenticator = new Authenticator({
      // A mirror's credentials are its own, never those of the registry that it stands in for.
      host: isOwn ? host : config.base.host,
      repository,
      origin,
      credentials,
      exchange,
      timeouts,
      retry,
      now: () => performance.now(),
    });
    const reading: Exchange = (request) => exchange({ patience, ...request });
    this.#exchanges = {
      pull: authenticator.wrap(reading, 'pull'),
      push: authenticator.wrap(exchange, 'push'),
    };
    this.probe = async () => {
      const signal = new AbortController().signal;
      const response = await reading({ method: 'GET', url: config.base, signal });
      response.discard();
    };
  }

  /** One attempt; any status is an answer. */
  async send(request: RepositoryRequest): Promise<HttpResponse> {
    const { target, access, ...rest } = request;
    return this.#exchanges[access]({ ...rest, url: this.#url(target) });
  }

  /** The blob, asked for time and again: where it is redirected to is remembered. */
  blob(digest: Digest): BlobHost {
    const target = rememberingTarget(this.#exchanges.pull, this.#url(`blobs/${digest}`));
    return { name: this.name, probe: this.probe, ...target };
  }

  /** Ends running requests too. */
  async close(): Promise<void> {
    await this.#client.close();
  }

  #url(target: string | URL): URL {
    const url = new URL(target, this.#base);
    if (this.#namespace !== undefined && url.origin === this.#base.origin) {
      url.searchParams.set('ns', this.#namespace);
    }
    return url;
  }
}

function withHeaders(
  exchange: Exchange,
  origin: string,
  headers: Readonly<Record<string, string>>,
): Exchange {
  return (request) =>
    request.url.origin === origin
      ? exchange({ ...request, headers: { ...headers, ...request.headers } })
      : exchange(request);
}

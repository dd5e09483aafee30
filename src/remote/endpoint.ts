/**
 * One repository of a registry as something to send requests to. Several hosts may have it, mirrors and
 * the registry itself; each has authorization, certificates and connections of its own. An attempt at
 * something is made at one host, and at the next where that fails.
 */

import { type Logger, silentLogger } from '../common/log.js';
import { errorMessage } from '../common/errors.js';
import { type CredentialSource, storedCredentials } from './credentials.js';
import { eachHost } from './failover.js';
import { type Capability, defaultHostsDirs, findHosts } from './hosts-file.js';
import {
  type RemoteTimeouts,
  type RetryPolicy,
  defaultRetry,
  defaultTimeouts,
  patienceAmongHosts,
} from './policy.js';
import type { ReachLimits } from './reachability.js';
import { type Reference, isLoopbackHost } from './reference.js';
import { RepositoryHost } from './repository-host.js';
import { withRetries } from './retry.js';

export interface EndpointOptions {
  reference: Reference;
  /** Implied for loopback hosts. */
  plainHttp?: boolean;
  /** Asked for each host's own. Default: {@link storedCredentials}. */
  credentials?: CredentialSource | undefined;
  /** As of containerd's `certs.d`; default: {@link defaultHostsDirs}. */
  hostsDirs?: readonly string[] | undefined;
  timeouts?: Partial<RemoteTimeouts>;
  retry?: Partial<RetryPolicy>;
  /** Gives a host up within seconds that is gone, for whoever has no time; default: never. */
  reach?: ReachLimits;
  /** Is told of what fails and is tried again. */
  onFailure?: (error: unknown) => void;
  log?: Logger;
}

/** What an attempt needs of a host, and how much it moves. */
export interface AttemptOptions {
  needs: Capability;
  signal: AbortSignal;
  /** That come or go, where that is a matter of more than moments. */
  bytes?: number;
}

export class Endpoint {
  /** `host/repository`, for messages. */
  readonly name: string;
  readonly timeouts: RemoteTimeouts;
  readonly retry: RetryPolicy;
  readonly #options: EndpointOptions;
  readonly #log: Logger;
  #hosts: Promise<RepositoryHost[]> | undefined;

  constructor(options: EndpointOptions) {
    const { host, repository } = options.reference;
    this.name = `${host}/${repository}`;
    this.timeouts = { ...defaultTimeouts, ...options.timeouts };
    this.retry = { ...defaultRetry, ...options.retry };
    this.#options = options;
    this.#log = options.log ?? silentLogger;
  }

  /**
   * Those that are good for it, in the order of preference; the last has the last word.
   * @throws SiphonError of {@link findHosts}
   */
  async hosts(needs: Capability): Promise<RepositoryHost[]> {
    this.#hosts ??= this.#findHosts();
    try {
      return (await this.#hosts).filter(({ capabilities }) => capabilities.has(needs));
    } catch (error) {
      this.#hosts = undefined;
      throw error;
    }
  }

  /**
   * Makes `attempt` at one host after the other until it succeeds, and all over as the retry policy says.
   * What is pushed goes to one host only.
   * @param task as in `Cannot <task>: …`
   */
  async attempt<T>(
    task: string,
    { needs, signal, bytes = 0 }: AttemptOptions,
    attempt: (host: RepositoryHost, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { timeouts, retry } = this;
    const able = await this.hosts(needs);
    const hosts = needs === 'push' ? able.slice(0, 1) : able;
    const onRetry = (error: unknown, number: number): void => this.noteRetry(task, error, number);
    return withRetries({ timeouts, retry, signal, task, bytes, onRetry }, (attemptSignal) =>
      eachHost(hosts, { task, signal: attemptSignal, onFailure: onRetry }, (host) =>
        attempt(host, attemptSignal),
      ),
    );
  }

  /** Logs that attempt `number` at `task` failed and another follows. */
  noteRetry(task: string, error: unknown, number: number): void {
    this.#options.onFailure?.(error);
    this.#log.debug({ task, attempt: number, error: errorMessage(error) }, 'trying again');
  }

  /** Ends running requests too. */
  async close(): Promise<void> {
    const hosts = (await this.#hosts?.catch(() => undefined)) ?? [];
    await Promise.all(hosts.map((host) => host.close()));
  }

  async #findHosts(): Promise<RepositoryHost[]> {
    const { reference, plainHttp, credentials, hostsDirs, reach } = this.#options;
    const { timeouts, retry } = this;
    const configs = await findHosts(reference.host, {
      hostsDirs: hostsDirs ?? defaultHostsDirs(),
      plainHttp: plainHttp ?? isLoopbackHost(reference.host),
    });
    const login = credentials ?? storedCredentials();
    const patience = Math.min(timeouts.headers, patienceAmongHosts);
    return configs.map(
      (config) =>
        new RepositoryHost(config, {
          reference,
          credentials: login,
          timeouts,
          retry,
          ...(config === configs.at(-1) ? {} : { patience }),
          ...(reach === undefined ? {} : { reach }),
        }),
    );
  }
}

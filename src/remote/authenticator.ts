/**
 * Answers a registry's challenges for one repository. Nothing is sent until the registry asks; from
 * then on every request carries its authorization from the start. Tokens are kept until shortly before
 * they expire, and fetched once however many requests wait for them.
 */

import { SiphonError } from '../common/errors.js';
import { type Challenge, parseChallenges } from './auth-challenge.js';
import type { CredentialSource } from './credentials.js';
import type { Exchange, HttpRequest } from './http-exchange.js';
import type { RemoteTimeouts, RetryPolicy } from './policy.js';
import { isLoopbackHost } from './reference.js';
import { withRetries } from './retry.js';
import { type TokenRequest, basicHeader, fetchToken } from './token.js';
import { orCancelled } from './watchdog.js';

/** What a request wants to do in the repository. */
export type Access = 'pull' | 'push';

export interface AuthenticatorOptions {
  /** As users name it, for credentials and messages. */
  host: string;
  repository: string;
  /** Of the registry: what is sent elsewhere carries no authorization. */
  origin: string;
  credentials: CredentialSource;
  /** For requests to the token service. */
  exchange: Exchange;
  timeouts: RemoteTimeouts;
  retry: RetryPolicy;
  /** Milliseconds; any origin. */
  now: () => number;
}

interface HeldToken {
  header: string;
  expires: number;
}

type Scheme =
  | { kind: 'unknown' }
  | { kind: 'basic'; header: string }
  | { kind: 'bearer'; realm: URL; service: string | undefined };

const SCOPE_ACTIONS: Readonly<Record<Access, string>> = { pull: 'pull', push: 'pull,push' };
/** Part of a token's life after which another is fetched. */
const USABLE_LIFETIME = 0.8;

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #tokens = new Map<Access, HeldToken>();
  readonly #pending = new Map<Access, Promise<HeldToken>>();
  #scheme: Scheme = { kind: 'unknown' };

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** `exchange` with authorization: a challenge is answered once, then the request is sent again. */
  wrap(exchange: Exchange, access: Access): Exchange {
    return async (request) => {
      if (request.url.origin !== this.#options.origin) return exchange(request);
      const header = await this.#header(access, request.signal);
      const response = await exchange(authorized(request, header));
      // A challenge by the host of a redirect is not ours to answer.
      const asked = response.status === 401 && response.url.origin === this.#options.origin;
      const challenge = asked ? response.header('www-authenticate') : undefined;
      if (challenge === undefined) return response;
      const answer = await this.#answer(parseChallenges(challenge), access, header, request.signal);
      if (answer === undefined || answer === header) return response;
      response.discard();
      return exchange(authorized(request, answer));
    };
  }

  async #header(access: Access, signal: AbortSignal): Promise<string | undefined> {
    if (this.#scheme.kind === 'unknown') return undefined;
    if (this.#scheme.kind === 'basic') return this.#scheme.header;
    return this.#tokenHeader(this.#scheme, access, this.#ownScope(access), signal);
  }

  async #answer(
    challenges: Challenge[],
    access: Access,
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer !== undefined) {
      const scheme = this.#bearerScheme(bearer);
      this.#scheme = scheme;
      if (this.#tokens.get(access)?.header === refused) this.#tokens.delete(access);
      const scope = bearer.parameters.get('scope') || this.#ownScope(access);
      return this.#tokenHeader(scheme, access, scope, signal);
    }
    if (!challenges.some(({ scheme }) => scheme === 'basic')) return undefined;
    const credentials = await this.#credentials(signal);
    if (credentials === undefined || credentials.identityToken !== undefined) return undefined;
    this.#scheme = { kind: 'basic', header: basicHeader(credentials) };
    return this.#scheme.header;
  }

  async #tokenHeader(
    scheme: Scheme & { kind: 'bearer' },
    access: Access,
    scope: string,
    signal: AbortSignal,
  ): Promise<string> {
    const held = this.#tokens.get(access);
    if (held !== undefined && this.#options.now() < held.expires) return held.header;
    let pending = this.#pending.get(access);
    if (pending === undefined) {
      pending = this.#fetch({ ...scheme, scope }).finally(() => this.#pending.delete(access));
      this.#pending.set(access, pending);
    }
    const token = await orCancelled(pending, signal);
    this.#tokens.set(access, token);
    return token.header;
  }

  /** Without a caller's signal: others may wait for the same token. The total time limits it. */
  async #fetch(wanted: Omit<TokenRequest, 'credentials'>): Promise<HeldToken> {
    const { exchange, retry, timeouts, now } = this.#options;
    const signal = new AbortController().signal;
    const credentials = await this.#credentials(signal);
    if (credentials?.registryToken !== undefined) {
      return { header: `Bearer ${credentials.registryToken}`, expires: Number.POSITIVE_INFINITY };
    }
    if (credentials !== undefined) this.#refusePlainRealm(wanted.realm);
    const request = { ...wanted, credentials };
    const task = `get a token for "${wanted.scope}" from "${wanted.realm.host}"`;
    const asked = now();
    const token = await withRetries({ retry, timeouts, signal, task }, (attemptSignal) =>
      fetchToken(exchange, request, attemptSignal),
    );
    return { header: `Bearer ${token.value}`, expires: asked + token.lifetime * USABLE_LIFETIME };
  }

  #credentials(signal: AbortSignal): ReturnType<CredentialSource> {
    const { credentials, host, repository } = this.#options;
    return orCancelled(credentials(host, repository), signal);
  }

  #bearerScheme(challenge: Challenge): Scheme & { kind: 'bearer' } {
    const realm = URL.parse(challenge.parameters.get('realm') ?? '');
    if (realm === null || (realm.protocol !== 'https:' && realm.protocol !== 'http:')) {
      throw new SiphonError(
        'unauthorized',
        `Cannot log in to "${this.#options.host}": its challenge names no token service, expected a URL as realm`,
      );
    }
    return { kind: 'bearer', realm, service: challenge.parameters.get('service') };
  }

  #refusePlainRealm(realm: URL): void {
    const registryIsPlain = this.#options.origin.startsWith('http:');
    if (realm.protocol === 'https:' || registryIsPlain || isLoopbackHost(realm.host)) return;
    throw new SiphonError(
      'unauthorized',
      `Cannot log in to "${this.#options.host}": its token service "${realm.host}" has no TLS, expected https`,
    );
  }

  #ownScope(access: Access): string {
    return `repository:${this.#options.repository}:${SCOPE_ACTIONS[access]}`;
  }
}

function authorized(request: HttpRequest, header: string | undefined): HttpRequest {
  if (header === undefined) return request;
  return { ...request, headers: { ...request.headers, authorization: header } };
}

/**
 * Answers a registry's challenges for one repository. Nothing is sent until the registry asks; from
 * then on every request carries its authorization from the start. Tokens are kept until shortly before
 * they expire, and fetched once however many requests wait for them.
 */

import { SiphonError } from '../common/errors.js';
import { type Challenge, parseChallenges } from './auth-challenge.js';
import type { CredentialSource, Credentials } from './credentials.js';
import { foreignText } from './foreign-text.js';
import type { Exchange, HttpRequest, HttpResponse } from './http-exchange.js';
import type { RemoteTimeouts, RetryPolicy } from './policy.js';
import { isLoopbackHost } from './reference.js';
import { isSameLogin } from './same-login.js';
import { withRetries } from './retry.js';
import { basicHeader, fetchToken } from './token.js';
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

interface LoginRequest {
  access: Access;
  /** What was not enough; absent: nothing was sent. */
  used: Login | undefined;
  refused: readonly Credentials[];
  /** By a challenge; absent: our own. */
  scope?: string | undefined;
  signal: AbortSignal;
}

/** What lets a request in. */
interface Login {
  header: string;
  /** Absent for a token that anybody gets. */
  credentials: Credentials | undefined;
  /** By {@link AuthenticatorOptions.now}. */
  expires: number;
}

type Scheme = { kind: 'basic' } | { kind: 'bearer'; realm: URL; service: string | undefined };

const SCOPE_ACTIONS: Readonly<Record<Access, string>> = { pull: 'pull', push: 'pull,push' };
/** Part of a token's life after which another is fetched. */
const USABLE_LIFETIME = 0.8;
/** Credentials that are tried for one request. */
const MAX_REFUSED = 8;
const FOREVER = Number.POSITIVE_INFINITY;

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  /** Of each access; with Basic the same for both. */
  readonly #logins = new Map<Access, Login>();
  readonly #pending = new Map<string, Promise<Login | undefined>>();
  #scheme: Scheme | undefined;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /**
   * `exchange` with authorization: where it is refused, the request is sent again with another login, as long as
   * there is one.
   */
  wrap(exchange: Exchange, access: Access): Exchange {
    return async (request) => {
      if (request.url.origin !== this.#options.origin) return exchange(request);
      const { signal } = request;
      const refused: Credentials[] = [];
      let login = await this.#held(access, signal);
      for (let isFresh = false; ; isFresh = true) {
        const response = await exchange(authorized(request, login?.header));
        const challenge = this.#challengeOf(response, login);
        if (challenge === undefined) return response;
        // A token that was held may just have run out.
        if (isFresh || challenge === 'forbidden' || login?.expires === FOREVER) {
          if (login?.credentials === undefined) return response;
          refused.push(login.credentials);
        }
        const next = await this.#answer(challenge, { access, used: login, refused, signal }).catch(
          (error: unknown) => {
            response.discard();
            throw error;
          },
        );
        if (next === undefined || next.header === login?.header) return response;
        response.discard();
        login = next;
      }
    };
  }

  /**
   * What refuses the login, if anything does. The host of a redirect has no say in it; some registries answer
   * 403, without a challenge, when a password is no longer good.
   */
  #challengeOf(
    response: HttpResponse,
    used: Login | undefined,
  ): Challenge[] | 'forbidden' | undefined {
    if (response.url.origin !== this.#options.origin) return undefined;
    if (response.status === 403 && used?.credentials !== undefined) return 'forbidden';
    if (response.status !== 401) return undefined;
    const header = response.header('www-authenticate');
    return header === undefined ? undefined : parseChallenges(header);
  }

  async #held(access: Access, signal: AbortSignal): Promise<Login | undefined> {
    const held = this.#logins.get(access);
    if (this.#scheme === undefined) return undefined;
    if (held !== undefined && this.#options.now() < held.expires) return held;
    return this.#login({ access, used: held, refused: [], signal });
  }

  async #answer(
    challenge: Challenge[] | 'forbidden',
    asked: LoginRequest,
  ): Promise<Login | undefined> {
    let scope: string | undefined;
    if (challenge !== 'forbidden') {
      const bearer = challenge.find(({ scheme }) => scheme === 'bearer');
      const isBasic = challenge.some(({ scheme }) => scheme === 'basic');
      if (bearer === undefined && !isBasic) return undefined;
      this.#scheme = bearer === undefined ? { kind: 'basic' } : this.#bearerScheme(bearer);
      scope = bearer?.parameters.get('scope') || undefined;
    }
    return this.#login({ ...asked, scope });
  }

  /** Another than was used: what somebody else has got meanwhile, or a new one, which is got once for all. */
  async #login({ access, used, refused, scope, signal }: LoginRequest): Promise<Login | undefined> {
    const held = this.#logins.get(access);
    if (held !== undefined && held.header !== used?.header && refused.length === 0) {
      if (this.#options.now() < held.expires) return held;
    }
    const wanted = scope ?? this.#ownScope(access);
    const key = `${refused.length} ${wanted}`;
    let pending = this.#pending.get(key);
    if (pending === undefined) {
      pending = this.#fetch(wanted, refused).finally(() => this.#pending.delete(key));
      this.#pending.set(key, pending);
    }
    const login = await orCancelled(pending, signal);
    if (login !== undefined) this.#logins.set(access, login);
    return login;
  }

  /**
   * With the first credentials that the token service takes; without a caller's signal, for others may wait for the
   * same. The total time limits it.
   * @returns `undefined` where there are none, or none but those that were refused
   */
  async #fetch(scope: string, refused: readonly Credentials[]): Promise<Login | undefined> {
    const tried = [...refused];
    for (let failure: SiphonError | undefined; ;) {
      const credentials = await this.#credentials(tried);
      const isNew = credentials && !tried.some((one) => isSameLogin(one, credentials));
      if (tried.length > 0 && (!isNew || tried.length > MAX_REFUSED)) {
        if (failure !== undefined) throw failure;
        return undefined;
      }
      try {
        return await this.#fetchWith(credentials, scope);
      } catch (error) {
        const isRefused = error instanceof SiphonError && error.code === 'unauthorized';
        if (!isRefused || credentials === undefined) throw error;
        failure = error;
        tried.push(credentials);
      }
    }
  }

  async #fetchWith(
    credentials: Credentials | undefined,
    scope: string,
  ): Promise<Login | undefined> {
    const scheme = this.#scheme;
    const expires = FOREVER;
    if (scheme?.kind !== 'bearer') {
      if (credentials === undefined || credentials.identityToken !== undefined) return undefined;
      return { header: basicHeader(credentials), credentials, expires };
    }
    if (credentials?.registryToken !== undefined) {
      return { header: `Bearer ${credentials.registryToken}`, credentials, expires };
    }
    if (credentials !== undefined) this.#refusePlainRealm(scheme.realm);
    const { exchange, retry, timeouts, now } = this.#options;
    const request = { realm: scheme.realm, service: scheme.service, scope, credentials };
    const task = `get a token for "${foreignText(scope)}" from "${scheme.realm.host}"`;
    const asked = now();
    const token = await withRetries(
      { retry, timeouts, signal: new AbortController().signal, task },
      (attemptSignal) => fetchToken(exchange, request, attemptSignal),
    );
    const lasts = token.lifetime * USABLE_LIFETIME;
    return { header: `Bearer ${token.value}`, credentials, expires: asked + lasts };
  }

  #credentials(refused: readonly Credentials[]): ReturnType<CredentialSource> {
    const { credentials, host, repository } = this.#options;
    return credentials(host, repository, refused);
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

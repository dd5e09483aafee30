/** Bearer tokens from a registry's token service (distribution's token and OAuth2 protocols). */

import { z } from 'zod';
import { SiphonError } from '../common/errors.js';
import { rememberSecret } from '../common/secrets.js';
import type { Credentials } from './credentials.js';
import { parseDocument } from './descriptor.js';
import { foreignText } from './foreign-text.js';
import { expectStatus, readBody } from './http-answer.js';
import { type Exchange, type HttpRequest, bufferBody } from './http-exchange.js';

export interface TokenRequest {
  realm: URL;
  service: string | undefined;
  /** `repository:team/app:pull`, several separated by spaces. */
  scope: string;
  credentials: Credentials | undefined;
}

export interface Token {
  value: string;
  /** Milliseconds that it is good for from now on. */
  lifetime: number;
}

const CLIENT_ID = 'siphon';
const MAX_ANSWER = 256 * 1024;
/** Seconds that a token lasts where the service does not say (distribution's token specification). */
const DEFAULT_LIFETIME = 60;
/** Longer ones, in seconds, are asked for again all the same. */
const LONGEST_LIFETIME = 24 * 3600;

/** Services differ in what they leave out and in what they write for nothing. */
const answerSchema = z.object({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
  expires_in: z.unknown().optional(),
  issued_at: z.unknown().optional(),
});
type Answer = z.infer<typeof answerSchema>;

/** @throws SiphonError `unauthorized` where the service refuses, else as of any request */
export async function fetchToken(
  exchange: Exchange,
  request: TokenRequest,
  signal: AbortSignal,
): Promise<Token> {
  const response = await exchange(tokenRequest(request, signal));
  const task = `get a token for "${foreignText(request.scope)}"`;
  await expectStatus(response, [200], task);
  const body = await readBody(response, MAX_ANSWER, 'token');
  const answer = parseDocument(answerSchema, parseJson(body, request.realm.host), 'token');
  const value = answer.token || answer.access_token;
  if (!value) {
    throw new SiphonError('invalid', `Cannot ${task}: "${request.realm.host}" answers without one`);
  }
  rememberSecret(value);
  return { value, lifetime: lifetimeOf(answer, response.header('date')) };
}

/**
 * What is left of the token's life: a service may hand out one that it issued before. Its own clock is compared
 * with itself; ours may be another.
 */
function lifetimeOf({ expires_in: said, issued_at: issued }: Answer, date = ''): number {
  const seconds = typeof said === 'string' && said !== '' ? Number(said) : said;
  const isUsable = typeof seconds === 'number' && seconds > 0;
  const whole = (isUsable ? Math.min(seconds, LONGEST_LIFETIME) : DEFAULT_LIFETIME) * 1000;
  const age = typeof issued === 'string' ? Date.parse(date) - Date.parse(issued) : 0;
  return age > 0 && age < whole ? whole - age : whole;
}

function tokenRequest(request: TokenRequest, signal: AbortSignal): HttpRequest {
  const refreshToken = request.credentials?.identityToken;
  return refreshToken === undefined
    ? plainTokenRequest(request, signal)
    : oauthTokenRequest(request, refreshToken, signal);
}

function plainTokenRequest(request: TokenRequest, signal: AbortSignal): HttpRequest {
  const url = new URL(request.realm);
  if (request.service !== undefined) url.searchParams.set('service', request.service);
  for (const scope of request.scope.split(' ')) url.searchParams.append('scope', scope);
  if (request.credentials === undefined) return { method: 'GET', url, signal };
  const headers = { authorization: basicHeader(request.credentials) };
  return { method: 'GET', url, headers, signal };
}

function oauthTokenRequest(
  request: TokenRequest,
  refreshToken: string,
  signal: AbortSignal,
): HttpRequest {
  rememberSecret(refreshToken);
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: CLIENT_ID,
    scope: request.scope,
    refresh_token: refreshToken,
    ...(request.service === undefined ? {} : { service: request.service }),
  });
  return {
    method: 'POST',
    url: request.realm,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: bufferBody(Buffer.from(form.toString())),
    signal,
  };
}

/** RFC 7617, in UTF-8. */
export function basicHeader(credentials: Credentials): string {
  const pair = `${credentials.username}:${credentials.password}`;
  return `Basic ${Buffer.from(pair, 'utf8').toString('base64')}`;
}

/** No cause is kept: a JSON error quotes the text, which holds a token. */
function parseJson(body: Buffer, host: string): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw new SiphonError('invalid', `Cannot read token of "${host}": it is not JSON`);
  }
}

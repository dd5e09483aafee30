/** Bearer tokens from a registry's token service (distribution's token and OAuth2 protocols). */

import { z } from 'zod';
import { SiphonError } from '../common/errors.js';
import type { Credentials } from './credentials.js';
import { parseDocument } from './descriptor.js';
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
  /** Milliseconds that it is good for. */
  lifetime: number;
}

const CLIENT_ID = 'siphon';
const MAX_ANSWER = 256 * 1024;
/** Seconds that a token lasts where the service does not say (distribution's token specification). */
const DEFAULT_LIFETIME = 60;

const answerSchema = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().nonnegative().optional(),
});

/** @throws SiphonError `unauthorized` where the service refuses, else as of any request */
export async function fetchToken(
  exchange: Exchange,
  request: TokenRequest,
  signal: AbortSignal,
): Promise<Token> {
  const response = await exchange(tokenRequest(request, signal));
  const task = `get a token for "${request.scope}"`;
  await expectStatus(response, [200], task);
  const body = await readBody(response, MAX_ANSWER, 'token');
  const answer = parseDocument(answerSchema, parseJson(body, request.realm.host), 'token');
  const value = answer.token || answer.access_token;
  if (!value) {
    throw new SiphonError('invalid', `Cannot ${task}: "${request.realm.host}" answers without one`);
  }
  return { value, lifetime: (answer.expires_in ?? DEFAULT_LIFETIME) * 1000 };
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

/**
 * A token service as docker-registry trusts one: it signs JSON web tokens with a key whose certificate
 * the registry is given. It grants what is asked for, to the one user it knows or to everybody.
 */

import { execFile } from 'node:child_process';
import { createPrivateKey, randomUUID, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TokenAuth } from '../../bench/programs/docker-registry.js';
import { type ScriptedServer, startScriptedServer } from './scripted-server.js';

export interface TokenServer extends ScriptedServer {
  /** For the registry's configuration. */
  auth: TokenAuth;
}

export interface TokenServerOptions {
  /** For key and certificate. */
  folder: string;
  /** Absent: everybody gets a token. */
  login?: { username: string; password: string };
  /** Seconds that tokens are said to last. */
  lifetime?: number;
  /** Seconds that registries take them for; default: 300. */
  validity?: number;
  /** A repository that nobody may do anything in. */
  forbidden?: string;
}

const SERVICE = 'siphon test registry';
const ISSUER = 'siphon test tokens';

export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  const { key, certificate, certificatePath } = await createKey(options.folder);
  const server = await startScriptedServer((request, response) => {
    if (!isLoggedIn(request.headers.authorization, options.login)) {
      response.writeHead(401).end();
      return;
    }
    const query = new URL(request.url ?? '/', 'http://token').searchParams;
    const isAllowed = (scope: string): boolean => scope.split(':')[1] !== options.forbidden;
    const scopes = query.getAll('scope').filter(isAllowed);
    const token = signToken(key, certificate, scopes, options.validity ?? 300);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ token, expires_in: options.lifetime ?? 300 }));
  });
  const auth = {
    realm: `${server.origin}/token`,
    service: SERVICE,
    issuer: ISSUER,
    rootCertificates: certificatePath,
  };
  return { ...server, auth };
}

async function createKey(folder: string) {
  const keyPath = join(folder, 'token.key');
  const certificatePath = join(folder, 'token.crt');
  const options = `req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ${keyPath} -out ${certificatePath}`;
  await promisify(execFile)('openssl', [...options.split(' '), '-subj', '/CN=siphon test tokens']);
  const pem = await readFile(certificatePath, 'utf8');
  const certificate = pem.replaceAll(/-----[^-]+-----|\s/g, '');
  return { key: createPrivateKey(await readFile(keyPath)), certificate, certificatePath };
}

function isLoggedIn(header: string | undefined, login: TokenServerOptions['login']): boolean {
  if (login === undefined) return true;
  const expected = Buffer.from(`${login.username}:${login.password}`).toString('base64');
  return header === `Basic ${expected}`;
}

/** Seconds that docker-registry takes a token for longer than it says. */
const LEEWAY = 60;

function signToken(
  key: KeyObject,
  certificate: string,
  scopes: string[],
  validity: number,
): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: ISSUER,
    sub: 'somebody',
    aud: SERVICE,
    exp: now + validity - LEEWAY,
    nbf: now - LEEWAY,
    iat: now,
    jti: randomUUID(),
    access: scopes.map(access),
  };
  const signed = [{ typ: 'JWT', alg: 'RS256', x5c: [certificate] }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
}

/** `repository:team/app:pull,push` as the token's claim. */
function access(scope: string): object {
  const [type, name, actions = ''] = scope.split(':');
  return { type, name, actions: actions.split(',') };
}

/**
 * Credentials as docker, podman and skopeo store them: the `auths` of `config.json` or `auth.json`,
 * and the credential helpers those files name.
 */

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { SiphonError, systemCode } from '../common/errors.js';
import { askHelper } from './credential-helper.js';
import { parseDocument } from './descriptor.js';

export interface Credentials {
  username: string;
  password: string;
  /** An OAuth2 refresh token, which stands in for the password. */
  identityToken?: string;
  /** Sent to the registry as it is, without asking a token service. */
  registryToken?: string;
}

/**
 * Finds credentials for a repository; `undefined` means to ask anonymously.
 * @param refused that the host did not take; others are given, if there are any
 */
export type CredentialSource = (
  host: string,
  repository: string,
  refused?: readonly Credentials[],
) => Promise<Credentials | undefined>;

/** For registries that need none. */
export const anonymous: CredentialSource = async () => undefined;

/** What the environment says about where credentials lie. */
export type CredentialEnvironment = Partial<
  Record<'REGISTRY_AUTH_FILE' | 'DOCKER_CONFIG' | 'XDG_RUNTIME_DIR' | 'HOME' | 'PATH', string>
>;

/** Docker stores the Hub's credentials under this name. */
const HUB_KEY = 'https://index.docker.io/v1/';

const authSchema = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
});
const fileSchema = z.object({
  auths: z.record(z.string(), authSchema).optional(),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
});
type AuthFile = z.infer<typeof fileSchema>;

/**
 * Reads the credential files at each call, so that a new login takes effect without a restart. The
 * first file with an entry wins: `REGISTRY_AUTH_FILE` alone where set, else `auth.json` in
 * `XDG_RUNTIME_DIR`, else `config.json` in `DOCKER_CONFIG` or `~/.docker`.
 * @throws SiphonError (from the source) `invalid` where a file is malformed, `permission` where it
 * cannot be read
 */
export function storedCredentials(
  environment: CredentialEnvironment = process.env,
): CredentialSource {
  return async (host, repository) => {
    for (const path of credentialFiles(environment)) {
      const file = await readAuthFile(path);
      const found = file && (await credentialsIn(file, host, repository, environment));
      if (found) return found;
    }
    return undefined;
  };
}

/** Entries of an `auths` table that suit, most specific first: `host/team/app`, `host/team`, `host`. */
export function authKeys(host: string, repository: string): string[] {
  const parts = [host, ...repository.split('/')];
  const keys = parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
  keys.push(`https://${host}`, `http://${host}`);
  if (host === 'docker.io') keys.push(HUB_KEY, 'index.docker.io');
  return keys;
}

function credentialFiles(environment: CredentialEnvironment): string[] {
  if (environment.REGISTRY_AUTH_FILE) return [environment.REGISTRY_AUTH_FILE];
  const runtime = environment.XDG_RUNTIME_DIR;
  const docker = environment.DOCKER_CONFIG || join(environment.HOME || homedir(), '.docker');
  return [...(runtime ? [join(runtime, 'containers/auth.json')] : []), join(docker, 'config.json')];
}

async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new SiphonError('permission', `Cannot read credentials "${path}": ${code ?? 'failed'}`, {
      cause,
    });
  }
  return parseDocument(fileSchema, parseAuthJson(text, path), `credentials "${path}"`);
}

/** No cause is kept: a JSON error quotes the text, which holds passwords. */
function parseAuthJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SiphonError('invalid', `Cannot read credentials "${path}": it is not JSON`);
  }
}

async function credentialsIn(
  file: AuthFile,
  host: string,
  repository: string,
  environment: CredentialEnvironment,
): Promise<Credentials | undefined> {
  const keys = authKeys(host, repository);
  const ask = (helper: string) =>
    askHelper(helper, host === 'docker.io' ? HUB_KEY : host, environment);
  // A helper for this host comes before an entry that an earlier login left, as docker and podman have it.
  const helper = keys.map((key) => file.credHelpers?.[key]).find(Boolean);
  if (helper) return ask(helper);
  const stored = keys.map((key) => file.auths?.[key]).find((entry) => entry && hasSecret(entry));
  if (stored) return decodeAuth(stored, host);
  return file.credsStore ? ask(file.credsStore) : undefined;
}

type Auth = z.infer<typeof authSchema>;

function hasSecret(entry: Auth): boolean {
  return Boolean(entry.auth || entry.username || entry.identitytoken || entry.registrytoken);
}

function decodeAuth(entry: Auth, host: string): Credentials {
  const { username = '', password = '' } = entry;
  return {
    ...(entry.auth ? decodePair(entry.auth, host) : { username, password }),
    ...(entry.identitytoken ? { identityToken: entry.identitytoken } : {}),
    ...(entry.registrytoken ? { registryToken: entry.registrytoken } : {}),
  };
}

/**
 * @param pair base64 of `user:password`, as docker writes the two down
 * @param host for the message
 * @throws SiphonError `invalid`, which does not show it
 */
export function decodePair(pair: string, host: string): Pick<Credentials, 'username' | 'password'> {
  const decoded = Buffer.from(pair, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  if (colon < 0) {
    throw new SiphonError(
      'invalid',
      `Cannot read credentials of "${host}": "auth" is malformed, expected base64 of "user:password"`,
    );
  }
  // Some tools pad the decoded text with NULs.
  const password = decoded.slice(colon + 1).replace(/\0+$/, '');
  return { username: decoded.slice(0, colon), password };
}

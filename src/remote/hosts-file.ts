/**
 * containerd's hosts folder: `<dir>/<host>/hosts.toml` says which hosts stand in for a registry, and how
 * each is spoken to (containerd, docs/hosts.md). The hosts come in the order of the file, and the registry
 * itself, the `server`, comes last. Where there is no such file, there is the registry alone.
 */

import { readFile, readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { parseDocument } from './descriptor.js';
import { foreignText } from './foreign-text.js';
import { dialedHost } from './reference.js';

/** What a host is good for: contents by digest, names to digests, uploads. */
export type Capability = 'pull' | 'resolve' | 'push';

/** How a host's certificate is judged, and what this side shows. */
export interface TlsSettings {
  verify: boolean;
  /** PEM, besides those that Node trusts. */
  authorities: readonly string[];
  /** PEM. */
  clients: readonly { cert: string; key: string }[];
}

export interface HostConfig {
  /** Ends with a slash; a repository's name follows. */
  base: URL;
  capabilities: ReadonlySet<Capability>;
  /** Sent to this host alone; may hold secrets. */
  headers: Readonly<Record<string, string>>;
  tls: TlsSettings;
}

const allCapabilities: readonly Capability[] = ['pull', 'resolve', 'push'];
export const defaultTls: TlsSettings = { verify: true, authorities: [], clients: [] };

const paths = z.union([z.string(), z.array(z.string())]);
const clientPairs = z.union([z.string(), z.array(z.union([z.string(), z.array(z.string())]))]);
const hostSchema = z.object({
  capabilities: z.array(z.string()).optional(),
  ca: paths.optional(),
  client: clientPairs.optional(),
  skip_verify: z.boolean().optional(),
  header: z.record(z.string(), paths).optional(),
  override_path: z.boolean().optional(),
});
const fileSchema = hostSchema.extend({
  server: z.string().optional(),
  host: z.record(z.string(), hostSchema).optional(),
});
type HostTable = z.infer<typeof hostSchema>;

/** Where containerd and, for an ordinary user, nerdctl look. */
export function defaultHostsDirs(): string[] {
  const own = join(
    process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'),
    'containerd/certs.d',
  );
  const machine = '/etc/containerd/certs.d';
  return process.getuid?.() === 0 ? [machine] : [own, machine];
}

export interface HostsOptions {
  /** The first that has a folder for the host counts. */
  hostsDirs: readonly string[];
  /** Of the registry itself, unless its file says otherwise. */
  plainHttp: boolean;
}

/**
 * @param host as users name it
 * @throws SiphonError `invalid` for a malformed file, `permission` where one cannot be read
 */
export async function findHosts(host: string, options: HostsOptions): Promise<HostConfig[]> {
  const scheme = options.plainHttp ? 'http' : 'https';
  const server = `${scheme}://${dialedHost(host)}`;
  for (const folder of options.hostsDirs.flatMap((dir) => foldersOf(dir, host))) {
    const names = await listFolder(folder);
    if (names === undefined) continue;
    const path = join(folder, 'hosts.toml');
    const text = names.includes('hosts.toml') ? await readText(path) : '';
    if (text !== '') return readHosts(folder, parseHostsFile(text, path), server);
    return [hostConfig(server, {}, await dockerCertificates(folder, names))];
  }
  return [hostConfig(server, {}, defaultTls)];
}

/** A port's colon may be written as `_`, for file systems without colons. */
function foldersOf(dir: string, host: string): string[] {
  const plain = host.replace(/:(\d+)$/, '_$1_');
  return [...new Set([plain, host, '_default'])].map((name) => join(dir, name));
}

/** A registry that is not named by the file is good for everything, whatever the file says of it. */
async function readHosts(
  folder: string,
  { server, host = {}, ...own }: z.infer<typeof fileSchema>,
  ownServer: string,
): Promise<HostConfig[]> {
  const registry = server ? own : { ...own, capabilities: [], override_path: false };
  const tables: [string, HostTable][] = [...Object.entries(host), [server || ownServer, registry]];
  return Promise.all(
    tables.map(async ([name, table]) =>
      hostConfig(name, table, await tlsOf(table, folder), join(folder, 'hosts.toml')),
    ),
  );
}

/** No cause is kept: headers may hold secrets, and a TOML error quotes its line. */
function parseHostsFile(text: string, path: string): z.infer<typeof fileSchema> {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    const where = errorMessage(error).split('\n', 1)[0];
    throw new SiphonError('invalid', `Cannot read hosts "${path}": ${where}`);
  }
  return parseDocument(fileSchema, document, `hosts "${path}"`);
}

function hostConfig(name: string, table: HostTable, tls: TlsSettings, path = ''): HostConfig {
  const url = URL.parse(/^https?:\/\//.test(name) ? name : `https://${name}`);
  if (url === null) {
    throw new SiphonError(
      'invalid',
      `Cannot read hosts "${path}": "${foreignText(name)}" is no host's URL`,
    );
  }
  const own = url.pathname.replace(/\/+$/, '');
  const below = table.override_path === true || own.endsWith('/v2') ? own : `${own}/v2`;
  const named = table.capabilities?.map((one) => one.toLowerCase()) ?? [];
  const capabilities = allCapabilities.filter((one) => named.length === 0 || named.includes(one));
  const headers = Object.entries(table.header ?? {}).map(([header, value]) => [
    header.toLowerCase(),
    [value].flat().join(', '),
  ]);
  return {
    base: new URL(`${url.origin}${below}/`),
    capabilities: new Set(capabilities),
    headers: Object.fromEntries(headers) as Record<string, string>, // the pairs are of strings
    tls,
  };
}

async function tlsOf(table: HostTable, folder: string): Promise<TlsSettings> {
  const read = (path: string): Promise<string> =>
    readText(isAbsolute(path) ? path : join(folder, path));
  const pairs = [table.client ?? []].flat().map((pair) => [pair].flat());
  return {
    verify: table.skip_verify !== true,
    authorities: await Promise.all([table.ca ?? []].flat().map(read)),
    clients: await Promise.all(
      // A single file holds both.
      pairs.map(async ([cert = '', key = cert]) => ({
        cert: await read(cert),
        key: await read(key),
      })),
    ),
  };
}

/**
 * Docker's way, without a hosts file: authorities are `*.crt`, this side shows `*.cert` with `*.key`, or with the key
 * that the same file holds.
 */
async function dockerCertificates(folder: string, names: readonly string[]): Promise<TlsSettings> {
  const read = (name: string): Promise<string> => readText(join(folder, name));
  const clients = names.filter((name) => name.endsWith('.cert'));
  return {
    verify: true,
    authorities: await Promise.all(names.filter((name) => name.endsWith('.crt')).map(read)),
    clients: await Promise.all(
      clients.map(async (name) => {
        const key = name.replace(/cert$/, 'key');
        return { cert: await read(name), key: await read(names.includes(key) ? key : name) };
      }),
    ),
  };
}

/** What is no folder in it; `undefined` where there is no such folder. */
async function listFolder(folder: string): Promise<string[] | undefined> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.flatMap((one) => (one.isDirectory() ? [] : [one.name])).toSorted();
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw unreadable(folder, cause);
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): SiphonError {
  const code = systemCode(cause) ?? 'failed';
  return new SiphonError('permission', `Cannot read hosts "${path}": ${code}`, { cause });
}

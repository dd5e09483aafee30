/**
 * Which proxy a request goes through, by the environment, as Go's `net/http` decides it and so
 * containerd: upper-case names count first, and this machine is never asked by way of a proxy.
 */

import { BlockList, isIP } from 'node:net';
import { SiphonError } from '../common/errors.js';
import { isLoopbackHost } from './reference.js';

/**
 * @returns the proxy's URL, which may hold a password; `undefined` to go straight
 * @throws SiphonError `usage` where the environment names no http(s) proxy
 */
export function proxyFor(url: URL, environment: NodeJS.ProcessEnv = process.env): URL | undefined {
  const kind = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const named = environment[kind] || environment[kind.toLowerCase()];
  if (!named || isLoopbackHost(url.host) || isExempt(url, environment)) return undefined;
  const proxy = URL.parse(/^[a-z0-9+.-]+:\/\//i.test(named) ? named : `http://${named}`);
  if (proxy?.protocol === 'http:' || proxy?.protocol === 'https:') return proxy;
  throw new SiphonError(
    'usage',
    `Cannot use ${kind}: it is malformed, expected http(s)://HOST:PORT`,
  );
}

function isExempt(url: URL, environment: NodeJS.ProcessEnv): boolean {
  const list = environment['NO_PROXY'] || environment['no_proxy'] || '';
  const entries = list.split(',').map((entry) => entry.trim().toLowerCase());
  return entries.some((entry) => entry !== '' && matches(entry, url));
}

/** `*`, an address, a network `10.0.0.0/8`, a domain with those below it, `.domain` for those alone; each with a port. */
function matches(entry: string, url: URL): boolean {
  if (entry === '*') return true;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (entry.includes('/')) return isInNetwork(host, entry);
  const [, name = entry, port] = /^(.*[^:]):(\d+)$/.exec(entry) ?? [];
  if (isIP(entry) === 0 && port !== undefined && port !== portOf(url)) return false;
  const domain = (isIP(entry) === 0 ? name : entry)
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/^\*\./, '.');
  if (domain.startsWith('.')) return host.endsWith(domain);
  return host === domain || (isIP(host) === 0 && host.endsWith(`.${domain}`));
}

function isInNetwork(host: string, network: string): boolean {
  const [address = '', length = ''] = network.split('/');
  const family = isIP(address);
  if (family === 0 || family !== isIP(host) || !/^\d{1,3}$/.test(length)) return false;
  if (Number(length) > (family === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  const kind = family === 4 ? 'ipv4' : 'ipv6';
  list.addSubnet(address, Number(length), kind);
  return list.check(host, kind);
}

function portOf(url: URL): string {
  return url.port || (url.protocol === 'https:' ? '443' : '80');
}

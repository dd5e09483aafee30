/**
 * Image references as people write them, normalised as docker, containerd and skopeo do: `alpine` is
 * `docker.io/library/alpine:latest`. The grammar is that of the distribution project.
 */

import { type Digest, parseDigest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';

export interface Reference {
  /** `name`, `name:port` or `[v6]:port`, as users name it: `docker.io`, not the host to dial. */
  host: string;
  repository: string;
  /** Absent only where a digest is given. */
  tag?: string;
  digest?: Digest;
}

const DEFAULT_HOST = 'docker.io';
/** Names that all mean Docker Hub. */
const HUB_HOSTS: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io']);
const HUB_DIALED = 'registry-1.docker.io';
const DEFAULT_TAG = 'latest';
/** The distribution specification advises clients to keep host and repository below this. */
const MAX_NAME_LENGTH = 255;

const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?$`);
const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const TAG = /^\w[\w.-]{0,127}$/;

/**
 * Reads `[HOST/]REPOSITORY[:TAG][@DIGEST]`; without tag and digest the tag is `latest`.
 * @throws SiphonError `usage`
 */
export function parseReference(text: string): Reference {
  const { name, digest } = splitDigest(text);
  const { path, tag } = splitTag(name);
  const { host, repository } = splitHost(path);
  if (!HOST.test(host)) throw malformed(text, `host "${host}" is malformed`);
  if (!isRepository(repository)) {
    throw malformed(
      text,
      `repository "${repository}" is malformed, expected lower-case path parts`,
    );
  }
  if (host.length + repository.length >= MAX_NAME_LENGTH) {
    throw malformed(text, `the name is too long, expected less than ${MAX_NAME_LENGTH} characters`);
  }
  if (tag !== undefined && !isTag(tag)) throw malformed(text, `tag "${tag}" is malformed`);
  const finalTag = tag ?? (digest === undefined ? DEFAULT_TAG : undefined);
  return {
    host,
    repository,
    ...(finalTag === undefined ? {} : { tag: finalTag }),
    ...(digest === undefined ? {} : { digest: parseReferenceDigest(text, digest) }),
  };
}

/** The full form: `HOST/REPOSITORY[:TAG][@DIGEST]`. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.host}/${reference.repository}${tag}${digest}`;
}

/** The `host[:port]` to connect to for `host`; differs for Docker Hub only. */
export function dialedHost(host: string): string {
  return HUB_HOSTS.has(host) ? HUB_DIALED : host;
}

/** Whether `host` (with or without port) names this machine: there plain HTTP is the default. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/:[0-9]+$/, '').toLowerCase();
  return name === 'localhost' || name === '[::1]' || /^127(?:\.[0-9]{1,3}){3}$/.test(name);
}

export function isRepository(text: string): boolean {
  return REPOSITORY.test(text);
}

export function isTag(text: string): boolean {
  return TAG.test(text);
}

function splitDigest(text: string): { name: string; digest?: string } {
  const at = text.indexOf('@');
  return at < 0 ? { name: text } : { name: text.slice(0, at), digest: text.slice(at + 1) };
}

/** A colon after the last slash starts the tag; one before it belongs to the port. */
function splitTag(name: string): { path: string; tag?: string } {
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1);
  return colon < 0 ? { path: name } : { path: name.slice(0, colon), tag: name.slice(colon + 1) };
}

function splitHost(path: string): { host: string; repository: string } {
  const slash = path.indexOf('/');
  const first = path.slice(0, Math.max(slash, 0));
  const hasHost = slash > 0 && (/[.:A-Z[]/.test(first) || first === 'localhost');
  const host = hasHost && !HUB_HOSTS.has(first) ? first : DEFAULT_HOST;
  const repository = hasHost ? path.slice(slash + 1) : path;
  const official = host === DEFAULT_HOST && !repository.includes('/');
  return { host, repository: official ? `library/${repository}` : repository };
}

function parseReferenceDigest(text: string, digest: string): Digest {
  try {
    return parseDigest(digest);
  } catch (cause) {
    throw new SiphonError(
      'usage',
      `Cannot read image reference "${text}": digest "${digest}" is malformed, expected "sha256:" and 64 lower-case hex digits`,
      { cause },
    );
  }
}

function malformed(text: string, problem: string): SiphonError {
  return new SiphonError('usage', `Cannot read image reference "${text}": ${problem}`, {
    hint: 'A reference looks like registry.example:5000/team/app:1.0 or alpine@sha256:<digest>.',
  });
}

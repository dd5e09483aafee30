/**
 * Platforms as containerd names, normalises and matches them, so that the same image of an index is
 * chosen here and there: `x86_64` is `amd64`, `arm64/v8` is `arm64`, and a machine also runs what its
 * older siblings run.
 */

import { endianness } from 'node:os';
import { SiphonError } from '../common/errors.js';
import type { Platform } from '../remote/descriptor.js';

const osAliases: Readonly<Record<string, string>> = { macos: 'darwin' };
const architectureAliases: Readonly<Record<string, string>> = {
  i386: '386',
  i486: '386',
  i586: '386',
  i686: '386',
  'x86-64': 'amd64',
  x86_64: 'amd64',
  aarch64: 'arm64',
  armhf: 'arm',
  armel: 'arm',
};
/** What Node calls otherwise than Go does. */
const nodeArchitectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  mipsel: 'mipsle',
  ppc64: endianness() === 'LE' ? 'ppc64le' : 'ppc64',
};
const OPERATING_SYSTEMS: ReadonlySet<string> = new Set(['linux', 'windows', 'darwin', 'freebsd']);
const PART = /^[A-Za-z0-9_.-]+$/;

/** The platform that this process runs on. */
export function hostPlatform(): Platform {
  const architecture = nodeArchitectures[process.arch] ?? process.arch;
  return normalizePlatform({ os: process.platform, architecture });
}

/**
 * Reads `os/architecture[/variant]`, or one of os and architecture alone: the other is this machine's.
 * @throws SiphonError `usage`
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (parts.length > 3 || !parts.every((part) => PART.test(part))) {
    throw new SiphonError(
      'usage',
      `Cannot read platform "${text}": malformed, expected os/architecture[/variant]`,
      { hint: 'For example linux/amd64 or linux/arm/v7.' },
    );
  }
  const [first = '', architecture, variant] = parts;
  const host = hostPlatform();
  if (architecture === undefined) {
    const isOs = OPERATING_SYSTEMS.has(first.toLowerCase());
    return normalizePlatform(isOs ? { ...host, os: first } : { os: host.os, architecture: first });
  }
  return normalizePlatform({
    os: first,
    architecture,
    ...(variant === undefined ? {} : { variant }),
  });
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant ? [variant] : [])].join('/');
}

/** One name for each platform: lower case, no aliases, no variant where it says what is meant anyway. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const given = platform.architecture.toLowerCase();
  const architecture = architectureAliases[given] ?? given;
  const { variant: _, ...rest } = platform;
  const variant = normalizeVariant(given, architecture, platform.variant?.toLowerCase() ?? '');
  return { ...rest, os: osAliases[os] ?? os, architecture, ...(variant === '' ? {} : { variant }) };
}

/** How well an image for `offered` suits `wanted`: 0 is best; `undefined` is not at all. */
export function platformRank(wanted: Platform, offered: Platform): number | undefined {
  const name = formatPlatform(normalizePlatform(offered));
  const rank = runnable(normalizePlatform(wanted)).map(formatPlatform).indexOf(name);
  return rank < 0 ? undefined : rank;
}

function normalizeVariant(given: string, architecture: string, variant: string): string {
  const version = /^\d/.test(variant) ? `v${variant}` : variant;
  switch (architecture) {
    case 'amd64':
      return version === 'v1' ? '' : version;
    case 'arm64':
      return version === 'v8' ? '' : version;
    case 'arm':
      if (given === 'armel') return 'v6';
      return version === '' ? 'v7' : version;
    default:
      return variant;
  }
}

/** All that a machine of this platform runs, best first. */
function runnable(platform: Platform): Platform[] {
  const { architecture, os, variant = '' } = platform;
  const on = (other: string, versions: string[]): Platform[] =>
    versions.map((version) => normalizePlatform({ os, architecture: other, variant: version }));
  const level = Number(/^v(\d+)$/.exec(variant)?.[1] ?? NaN);
  switch (architecture) {
    case 'amd64':
      return [platform, ...on('amd64', olderThan(level, 1)), ...on('386', [''])];
    case 'arm64':
      return [
        platform,
        ...on('arm64', olderThan(level, 8)),
        ...on('arm', ['v8', 'v7', 'v6', 'v5']),
      ];
    case 'arm':
      return [platform, ...on('arm', olderThan(level, 5))];
    default:
      return [platform];
  }
}

/** `v<level - 1>` down to `v<oldest>`. */
function olderThan(level: number, oldest: number): string[] {
  const versions: string[] = [];
  for (let version = level - 1; version >= oldest; version--) versions.push(`v${version}`);
  return versions;
}

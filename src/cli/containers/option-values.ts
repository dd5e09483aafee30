/** The values of options of `siphon run`, as users of docker and ctr write them. Pure but for the paths. */

import { posix, resolve } from 'node:path';
import { SiphonError } from '../../common/errors.js';
import type { DeviceRequest } from '../../exec/host-devices.js';
import type { Mount, ResourceLimit } from '../../exec/runtime-spec.js';
import { UNLIMITED } from '../../exec/spec-text.js';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};
const ULIMITS =
  'as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack';

/** `512m`, `1.5g`, `1000`: bytes. @throws SiphonError `usage` */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?$/i.exec(text);
  const bytes = Math.floor(Number(match?.[1]) * (UNITS[match?.[2]?.toLowerCase() ?? ''] ?? 1));
  if (bytes > 0) return bytes;
  throw unusable('memory', text, 'a size such as 512m or 2g');
}

/** `1.5`: processors. @throws SiphonError `usage` */
export function parseCpus(text: string): number {
  const cpus = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : 0;
  // Less than a hundredth is less than the kernel takes.
  if (cpus >= 0.01) return cpus;
  throw unusable('cpus', text, 'a number such as 1.5, at least 0.01');
}

/** `TYPE=SOFT[:HARD]`; -1 is no limit. @throws SiphonError `usage` */
export function parseUlimit(text: string): ResourceLimit {
  const [, type = '', first = '', second = first] =
    /^([a-z]+)=(-1|\d{1,15})(?::(-1|\d{1,15}))?$/.exec(text) ?? [];
  const [soft = 0, hard = 0] = [first, second].map((limit) =>
    limit === '-1' ? UNLIMITED : Number(limit),
  );
  if (ULIMITS.split(' ').includes(type) && soft <= hard) {
    return { type: `RLIMIT_${type.toUpperCase()}`, soft, hard };
  }
  throw unusable('ulimit', text, 'TYPE=SOFT[:HARD] with a type such as nofile');
}

/** `SOURCE[:PATH][:rwm]`. @throws SiphonError `usage` */
export function parseDevice(text: string): DeviceRequest {
  const parts = text.split(':');
  const access = parts.length > 1 && /^[rwm]{1,3}$/.test(parts.at(-1) ?? '') ? parts.pop() : 'rwm';
  const [source = '', path = source, ...rest] = parts;
  if (source.startsWith('/') && path.startsWith('/') && rest.length === 0) {
    return { source, path, access: access ?? 'rwm' };
  }
  throw unusable('device', text, 'SOURCE[:PATH][:rwm] with absolute paths');
}

/** `SOURCE:PATH[:OPTION,…]`, a folder or file of the host. @throws SiphonError `usage` */
export function parseVolume(text: string): Mount {
  const [source = '', target = '', list = '', ...rest] = text.split(':');
  const destination = destinationOf(target);
  const options = list.split(',').filter(Boolean);
  const isUsable =
    /^\.{0,2}\//.test(source) &&
    rest.length === 0 &&
    options.every((option) => VOLUME_OPTION.test(option));
  if (destination === undefined || !isUsable) {
    throw unusable(
      'volume',
      text,
      'SOURCE:PATH[:ro] with a path of this machine and an absolute one below /',
    );
  }
  return bind(
    source,
    destination,
    options.filter((option) => !/^z$/i.test(option)),
  );
}

/**
 * docker's `type=bind,source=…,target=…,readonly` and `type=tmpfs,…,tmpfs-size=…`, and ctr's
 * `type=…,src=…,dst=…,options=a:b`. @throws SiphonError `usage`
 */
export function parseMount(text: string): Mount {
  const fields = new Map<string, string>();
  for (const part of commaSeparated(text)) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    fields.set(SAME[name] ?? name, equals < 0 ? 'true' : part.slice(equals + 1));
  }
  const { type = 'bind', source = '', target = '', ...rest } = Object.fromEntries(fields);
  const unknown = Object.keys(rest).find((name) => !MOUNT_FIELDS.includes(name));
  const { readonly: isReadOnly = 'false', 'bind-propagation': propagation } = rest;
  const destination = destinationOf(target);
  const isUsable =
    ((type === 'bind' && /^\.{0,2}\//.test(source)) || type === 'tmpfs') &&
    isReadOnly in FLAGS &&
    PROPAGATION.test(propagation ?? 'rprivate') &&
    /^[0-7]{1,4}$/.test(rest['tmpfs-mode'] ?? '0');
  if (unknown !== undefined || !isUsable || destination === undefined) {
    throw unusable(
      'mount',
      text,
      'type=bind,source=PATH,target=PATH[,readonly], or type=tmpfs,target=PATH',
    );
  }
  const options = (rest['options'] ?? '').split(':').filter(Boolean);
  if (FLAGS[isReadOnly] === true) options.push('ro');
  if (propagation !== undefined) options.push(propagation);
  if (type === 'bind') return bind(source, destination, options);
  return {
    destination,
    type,
    source: 'tmpfs',
    options: [...options, ...tmpfsOptions(rest)],
  };
}

/**
 * Lines of `NAME=value` or `NAME`; those that begin with # are comments.
 * @throws SiphonError `usage` where a name is empty, or has white space in it
 */
export function parseEnvFile(text: string): string[] {
  const lines = text
    .split('\n')
    .map((line) => line.trimStart().replace(/\r$/, ''))
    .filter((line) => line !== '' && !line.startsWith('#'));
  const wrong = lines.find((line) => !/^[^=\s]+(?:=|$)/.test(line));
  if (wrong === undefined) return lines;
  throw unusable('env-file', wrong, 'lines of NAME=value or NAME, without white space in the name');
}

/** `NAME=value`, or `NAME` for an empty one. @throws SiphonError `usage` */
export function parseLabel(text: string): [string, string] {
  const [, name = '', value = ''] = /^([^=]+)(?:=(.*))?$/s.exec(text) ?? [];
  if (name === '') throw unusable('label', text, 'NAME=value');
  return [name, value];
}

const SAME: Readonly<Record<string, string>> = {
  src: 'source',
  dst: 'target',
  destination: 'target',
  ro: 'readonly',
};
const MOUNT_FIELDS = ['readonly', 'options', 'bind-propagation', 'tmpfs-size', 'tmpfs-mode'];
const PROPAGATION = /^r?(?:private|shared|slave)$/;
/** Labels of SELinux (`z`) mean nothing here. */
const VOLUME_OPTION = /^(?:ro|rw|r?(?:private|shared|slave|bind)|(?:no)?(?:suid|dev|exec)|z|Z)$/;
const FLAGS: Readonly<Record<string, boolean>> = { true: true, 1: true, false: false, 0: false };

function tmpfsOptions(fields: Readonly<Record<string, string>>): string[] {
  const { 'tmpfs-size': size, 'tmpfs-mode': mode } = fields;
  return [
    'nosuid',
    'nodev',
    ...(size === undefined ? [] : [`size=${parseMemory(size)}`]),
    ...(mode === undefined ? [] : [`mode=${mode}`]),
  ];
}

/** As docker: a field in double quotes may have commas (RFC 4180). */
function commaSeparated(text: string): string[] {
  const fields = text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"(?=,|$)|([^,]*))/g);
  return [...fields].map(([, quoted, plain = '']) => quoted?.replaceAll('""', '"') ?? plain);
}

/** A path of the container in its shortest form; `undefined` where nothing can be mounted. */
function destinationOf(path: string): string | undefined {
  const destination = posix.resolve('/', path);
  return path.startsWith('/') && destination !== '/' ? destination : undefined;
}

function bind(source: string, destination: string, options: readonly string[]): Mount {
  const recursion = options.some((option) => /^r?bind$/.test(option)) ? [] : ['rbind'];
  const propagation = options.some((option) => PROPAGATION.test(option));
  return {
    destination,
    type: 'bind',
    source: resolve(source),
    options: [...recursion, ...(propagation ? [] : ['rprivate']), ...options],
  };
}

function unusable(option: string, text: string, expected: string): SiphonError {
  return new SiphonError('usage', `Cannot use --${option} "${text}": expected ${expected}`);
}

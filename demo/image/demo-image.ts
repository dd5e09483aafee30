/**
 * The image of the demo, made from what every machine with Node has: a shell and a few programs, the
 * Node runtime, npm's files, and an application. It holds one of everything that makes layers hard:
 * whiteouts, an opaque folder, hard links, extended attributes, a set-uid file, a device.
 */

import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { APPLICATION } from './application.js';
import {
  type Entry,
  directory,
  file,
  hardLink,
  noise,
  opaque,
  symlink,
  whiteout,
  withParents,
} from './entry.js';
import {
  findProgram,
  libraryEntries,
  type ProgramPlan,
  programEntry,
  topLevelLinks,
} from './host-programs.js';
import { treeEntries } from './host-tree.js';
import { randomIntegers } from './pseudo-random.js';
import type { LayerPlan } from './write-layout.js';

export interface DemoImageOptions {
  /** Bytes of data that do not compress and that the application never reads. */
  dataSize?: number;
  /** How many small files the application brings. */
  smallFiles?: number;
}

/** What the container runs unless it is told otherwise. */
export const DEMO_PROCESS = {
  Env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'LANG=C.UTF-8'],
  Cmd: ['node', '/app/report.mjs'],
  WorkingDir: '/app',
};

const NODE_IN_IMAGE = 'usr/local/bin/node';
const NPM_IN_IMAGE = 'usr/local/lib/node_modules/npm';
const PROGRAMS = [
  'sh',
  'cat',
  'ls',
  'env',
  'echo',
  'id',
  'stat',
  'sleep',
  'true',
  'false',
  'head',
  'wc',
];
const DATA_FILES = 4;
const MIB = 1024 * 1024;

/**
 * CAP_NET_BIND_SERVICE (bit 10), permitted and effective: `struct vfs_cap_data`, revision 2, little
 * endian (linux/capability.h).
 */
const BIND_CAPABILITY = Buffer.from('0100000200040000000000000000000000000000', 'hex').toString(
  'latin1',
);

/** The layers, bottom first. */
export async function demoLayers(options: DemoImageOptions = {}): Promise<LayerPlan[]> {
  const { dataSize = 56 * MIB, smallFiles = 3000 } = options;
  return [
    { title: 'base: a shell and a few programs', entries: await baseLayer() },
    { title: 'the Node runtime', entries: await runtimeLayer() },
    { title: 'the application', entries: withParents(applicationLayer(smallFiles)) },
    { title: 'data', entries: withParents(dataLayer(dataSize)) },
  ];
}

async function baseLayer(): Promise<Entry[]> {
  const programs = PROGRAMS.map(findProgram).filter(
    (plan): plan is ProgramPlan => plan !== undefined,
  );
  return withParents([
    ...topLevelLinks(),
    ...programs.map((plan) => programEntry(plan)),
    ...(await libraryEntries(programs.map((plan) => plan.from))),
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n'),
    file('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
    file('etc/old.conf', 'A layer above removes this file.\n'),
    directory('root', { mode: 0o700 }),
    directory('tmp', { mode: 0o1777 }),
    ...['dev', 'proc', 'sys', 'run', 'home'].map((name) => directory(name)),
    ...[1, 2, 3].map((n) =>
      file(`srv/site/old-${n}.html`, `<p>page ${n}, hidden by an opaque folder</p>\n`),
    ),
    ...[1, 2, 3].map((n) =>
      file(`var/lib/obsolete/${n}.txt`, 'A layer above removes this folder.\n'),
    ),
  ]);
}

async function runtimeLayer(): Promise<Entry[]> {
  const node = realpathSync(process.execPath);
  const npm = join(dirname(dirname(node)), 'lib/node_modules/npm');
  return withParents([
    ...(await libraryEntries([node])),
    programEntry({ from: node, to: NODE_IN_IMAGE }),
    symlink('usr/local/bin/nodejs', 'node'),
    ...(existsSync(npm) ? treeEntries(npm, NPM_IN_IMAGE) : []),
  ]);
}

function applicationLayer(smallFiles: number): Entry[] {
  const tool = programContent('true');
  return [
    file('app/report.mjs', APPLICATION),
    ...wordFiles(smallFiles),
    file('app/licence.txt', 'The same file under three names.\n', { mode: 0o444 }),
    hardLink('app/licence-2.txt', 'app/licence.txt', { mode: 0o444 }),
    hardLink('srv/licence-3.txt', 'app/licence.txt', { mode: 0o444 }),
    file('app/tagged.txt', 'A file with attributes.\n', {
      uid: 1000,
      gid: 1000,
      xattrs: { 'user.origin': 'demo', 'user.note': 'täglich' },
    }),
    { ...tool('usr/local/bin/as-root'), attributes: { mode: 0o4755 } },
    {
      ...tool('usr/local/bin/binds-low-ports'),
      attributes: { mode: 0o755, xattrs: { 'security.capability': BIND_CAPABILITY } },
    },
    directory('srv/site'),
    opaque('srv/site'),
    file('srv/site/index.html', '<p>the only page</p>\n'),
    whiteout('etc/old.conf'),
    whiteout('var/lib/obsolete'),
    ...(existsInNpm('man') ? [whiteout(`${NPM_IN_IMAGE}/man`)] : []),
    directory('app/spool', { mode: 0o2775, gid: 100 }),
    { kind: 'fifo', path: 'app/spool/queue', attributes: {} },
    {
      kind: 'character-device',
      path: 'app/spool/null',
      major: 1,
      minor: 3,
      attributes: { mode: 0o666 },
    },
  ];
}

function dataLayer(size: number): Entry[] {
  const each = Math.floor(size / DATA_FILES);
  return Array.from({ length: DATA_FILES }, (_, n) =>
    file(`app/data/part-${n}.bin`, noise(`siphon demo data ${n}`, each)),
  );
}

/** Small texts, a hundred to a folder. */
function wordFiles(count: number): Entry[] {
  const random = randomIntegers('siphon demo words');
  return Array.from({ length: count }, (_, n) => {
    const folder = String(Math.floor(n / 100)).padStart(3, '0');
    return file(`app/words/${folder}/${n}.txt`, words(random, 20 + random(200)));
  });
}

function words(random: (limit: number) => number, count: number): string {
  const list = Array.from({ length: count }, () => random(1 << 24).toString(36));
  return `${list.join(' ')}\n`;
}

/** The bytes of a small program of this machine, to go under another name. */
function programContent(name: string): (path: string) => Entry {
  const plan = findProgram(name);
  return (path) =>
    plan === undefined ? file(path, '#!/bin/sh\n') : programEntry({ ...plan, to: path });
}

function existsInNpm(name: string): boolean {
  return existsSync(
    join(dirname(dirname(realpathSync(process.execPath))), 'lib/node_modules/npm', name),
  );
}

/**
 * Debian packages that the tree needs beside Node. Each is known by something it puts on the machine,
 * so that a program installed in another way counts as well. Installing them starts no service:
 * containerd and docker-registry would otherwise be left running by their packages.
 */

import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { Failure } from './failure.mjs';
import { capture } from './run.mjs';

/**
 * @typedef {{ name: string, why: string, command?: string, library?: string, file?: string, services?: string[] }} DebianPackage
 * @typedef {'build' | 'demo' | 'test' | 'bench'} PackageSet
 */

/** @type {Record<PackageSet, DebianPackage[]>} */
const SETS = {
  build: [
    { name: 'python3', command: 'python3', why: 'node-gyp, which compiles better-sqlite3' },
    { name: 'make', command: 'make', why: 'the same' },
    { name: 'g++', command: 'g++', why: 'the same' },
    { name: 'libfuse2', library: 'libfuse.so.2', why: 'the optional fuse-native driver' },
  ],
  bench: [
    { name: 'mmdebstrap', command: 'mmdebstrap', why: 'making images' },
    { name: 'rsync', command: 'rsync', why: 'telling layers from one another' },
    { name: 'skopeo', command: 'skopeo', why: 'copying images' },
    {
      name: 'docker-registry',
      command: 'docker-registry',
      why: 'the registry that everyone pulls from',
      services: ['docker-registry'],
    },
    { name: 'iproute2', command: 'tc', why: 'a slower network' },
    { name: 'curl', command: 'curl', why: 'a client to compare with' },
    { name: 'runc', command: 'runc', why: 'running containers' },
    {
      name: 'containerd',
      command: 'containerd',
      why: 'a contestant, and what others plug into',
      services: ['containerd'],
    },
    { name: 'stargz-snapshotter', command: 'ctr-remote', why: 'pulling lazily' },
    {
      name: 'golang-go',
      command: 'go',
      why: 'the stargz snapshotter’s service, which Debian has as a library',
    },
    {
      name: 'golang-github-containerd-stargz-snapshotter-dev',
      file: '/usr/share/gocode/src/github.com/containerd/stargz-snapshotter/snapshot/snapshot.go',
      why: 'that library',
    },
    { name: 'podman', command: 'podman', why: 'a contestant' },
    { name: 'fuse-overlayfs', command: 'fuse-overlayfs', why: 'what it mounts with' },
    { name: 'umoci', command: 'umoci', why: 'a contestant in unpacking' },
    { name: 'archivemount', command: 'archivemount', why: 'a contestant in reading' },
  ],
  demo: [{ name: 'runc', command: 'runc', why: 'running the container' }],
  test: [
    {
      name: 'containerd',
      command: 'containerd',
      why: 'the tests drive it',
      services: ['containerd'],
    },
    { name: 'stargz-snapshotter', command: 'ctr-remote', why: 'ctr-remote, a lazy client' },
    { name: 'runc', command: 'runc', why: 'running containers' },
    { name: 'crun', command: 'crun', why: 'the other runtime' },
    { name: 'user-mode-linux', command: 'linux.uml', why: 'a machine with cgroup v2 alone' },
    {
      name: 'containernetworking-plugins',
      file: '/usr/lib/cni/bridge',
      why: 'networks of Kubernetes pods',
    },
    {
      name: 'docker-registry',
      command: 'docker-registry',
      why: 'a registry of another make',
      services: ['docker-registry'],
    },
    { name: 'skopeo', command: 'skopeo', why: 'copying images' },
    { name: 'umoci', command: 'umoci', why: 'the reference for unpacked trees' },
    { name: 'buildah', command: 'buildah', why: 'layers in zstd' },
    { name: 'attr', command: 'getfattr', why: 'reading extended attributes' },
    { name: 'libcap2-bin', command: 'getcap', why: 'capabilities of files' },
    { name: 'iptables', command: 'iptables', why: 'cutting a network' },
    { name: 'iproute2', command: 'ip', why: 'a network of its own' },
    { name: 'fuse', command: 'fusermount', why: 'mounting with the optional fuse-native driver' },
    { name: 'openssl', command: 'openssl', why: 'a certificate' },
    { name: 'git', command: 'git', why: 'a program that looks at many files' },
    { name: 'rsync', command: 'rsync', why: 'another' },
    { name: 'perl', command: 'prove', why: 'a reader that gets signals' },
    { name: 'e2fsprogs', command: 'mkfs.ext4', why: 'a disk that loses its power' },
    { name: 'pigz', command: 'pigz', why: 'gzip of another make' },
    { name: 'libdeflate-tools', command: 'libdeflate-gzip', why: 'of a third' },
    { name: 'zstd', command: 'zstd', why: 'zstd layers' },
    { name: 'python3', command: 'python3', why: 'system calls that Node lacks' },
    { name: 'procps', command: 'ps', why: 'looking at processes' },
    { name: 'curl', command: 'curl', why: 'requests over a slow link' },
    {
      name: 'chromium-headless-shell',
      command: 'chromium-headless-shell',
      why: "opening the benchmark's report",
    },
    { name: 'libfuse2', library: 'libfuse.so.2', why: 'the optional fuse-native driver' },
  ],
};

const START_POLICY = '/usr/sbin/policy-rc.d';
const SYSTEMD_RUNS = '/run/systemd/system';

/**
 * Installs what is missing of `sets`, saying what and why.
 * @param {readonly PackageSet[]} sets
 * @throws Failure where something is missing and cannot be installed
 */
export async function installPackages(sets) {
  const missing = uniqueByName(sets.flatMap((set) => SETS[set])).filter((it) => !isPresent(it));
  if (missing.length === 0) return;
  const names = missing.map((it) => it.name);
  requireApt(names);
  console.log('Installing Debian packages:');
  for (const { name, why } of missing) console.log(`  ${name.padEnd(20)} ${why}`);
  const restore = forbidServiceStarts();
  try {
    await aptInstall(names);
  } finally {
    restore();
  }
  await disableServices(missing.flatMap((it) => it.services ?? []));
  const still = missing.filter((it) => !isPresent(it)).map((it) => it.name);
  if (still.length > 0)
    throw new Failure(`Cannot find what ${still.join(', ')} should have installed`);
}

/** @param {DebianPackage} wanted */
function isPresent({ command, library, file }) {
  if (file !== undefined && !existsSync(file)) return false;
  if (command !== undefined && !programPath(command)) return false;
  return library === undefined || hasLibrary(library);
}

/** @param {string} command */
function programPath(command) {
  const folders = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`.split(delimiter);
  return folders.map((folder) => join(folder, command)).find(isExecutable);
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** @param {string} name a soname, looked for where Debian's multiarch puts it */
function hasLibrary(name) {
  return ['/usr/lib', '/lib', '/usr/lib64']
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => [
      folder,
      ...readdirSync(folder)
        .filter(isTriplet)
        .map((it) => join(folder, it)),
    ])
    .some((folder) => existsSync(join(folder, name)));
}

/** @param {string} folder */
function isTriplet(folder) {
  return folder.includes('-linux-');
}

/** @param {readonly string[]} names */
function requireApt(names) {
  const list = names.join(' ');
  if (!programPath('apt-get')) {
    throw new Failure(
      `Cannot install ${list}: no apt-get here; install what gives the same programs`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new Failure(`Cannot install ${list}: not root. Run: apt-get install ${list}`);
  }
}

/**
 * Package lists are refreshed only when there are none or they do not suffice.
 * @param {readonly string[]} names
 */
async function aptInstall(names) {
  const install = ['install', '-y', '--no-install-recommends', ...names];
  if (hasPackageLists() && (await aptGet(install)).code === 0) return;
  await orFail(aptGet(['update']), 'refresh the package lists');
  await orFail(aptGet(install), `install ${names.join(' ')}`);
}

/** @param {readonly string[]} args */
function aptGet(args) {
  return capture('apt-get', ['-q', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
}

/**
 * @param {Promise<import('./run.mjs').Captured>} running
 * @param {string} purpose
 */
async function orFail(running, purpose) {
  const { code, output } = await running;
  if (code !== 0) throw new Failure(`Cannot ${purpose} with apt-get:\n${output}`);
}

function hasPackageLists() {
  const lists = '/var/lib/apt/lists';
  return existsSync(lists) && readdirSync(lists).some((name) => name.includes('_Packages'));
}

/** Debian's way to say that no service may start (exit code 101). Returns the way back. */
function forbidServiceStarts() {
  if (existsSync(START_POLICY)) return () => {};
  writeFileSync(START_POLICY, '#!/bin/sh\nexit 101\n');
  chmodSync(START_POLICY, 0o755);
  return () => rmSync(START_POLICY, { force: true });
}

/** So that they do not start at the next boot either. @param {readonly string[]} services */
async function disableServices(services) {
  if (services.length === 0 || !existsSync(SYSTEMD_RUNS)) return;
  await capture('systemctl', ['disable', '--now', ...services]);
}

/** @param {readonly DebianPackage[]} packages */
function uniqueByName(packages) {
  return [...new Map(packages.map((it) => [it.name, it])).values()];
}

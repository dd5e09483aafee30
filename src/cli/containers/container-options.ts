/** What `siphon run` and `siphon create` take, as users of docker and ctr know it. */

import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { SiphonError, errorMessage } from '../../common/errors.js';
import { fileExists } from '../../common/file-exists.js';
import { formatSource, parseSource } from '../../content/source.js';
import type { ContainerRecord } from '../../exec/container-record.js';
import type { DeviceRequest } from '../../exec/host-devices.js';
import type { ContainerOverrides, Network } from '../../exec/run-options.js';
import type { Mount, ResourceLimit } from '../../exec/runtime-spec.js';
import type { Settings } from '../settings.js';
import { collect } from './collect.js';
import { terminalSize } from './terminal.js';
import {
  parseCpus,
  parseDevice,
  parseEnvFile,
  parseLabel,
  parseMemory,
  parseMount,
  parseUlimit,
  parseVolume,
} from './option-values.js';

export interface ContainerOptions {
  name?: string;
  tty?: boolean;
  interactive?: boolean;
  rm?: boolean;
  runtime: string;
  env?: string[];
  envFile?: string[];
  mount?: Mount[];
  volume?: Mount[];
  user?: string;
  workdir?: string;
  hostname?: string;
  net: Network;
  readOnly?: boolean;
  memory?: number;
  cpus?: number;
  capAdd?: string[];
  capDrop?: string[];
  privileged?: boolean;
  device?: DeviceRequest[];
  ulimit?: ResourceLimit[];
  entrypoint?: string;
  label?: [string, string][];
}

export function addContainerOptions(command: Command): Command {
  return command
    .option('--name <name>', 'name of the container (default: a random one)')
    .option('-t, --tty', 'give the program a terminal')
    .option('-i, --interactive', 'keep the input of a detached program open, for who attaches')
    .option('--rm', 'remove the container when its program ends')
    .option('--runtime <name>', 'OCI runtime: runc, crun or a path', 'runc')
    .option('-e, --env <name=value>', 'set a variable, or hand on one by its name', collect())
    .option('--env-file <file>', 'set the variables of a file, one a line', collect())
    .option(
      '--mount <fields>',
      'type=bind,source=…,target=…[,readonly]; type=tmpfs,target=…',
      collect(parseMount),
    )
    .option(
      '-v, --volume <source:path[:ro]>',
      'show a folder or file of this machine; the folder is made where it is missing',
      collect(parseVolume),
    )
    .option('-u, --user <user[:group]>', "names or numbers, instead of the image's User")
    .option('-w, --workdir <path>', "instead of the image's WorkingDir")
    .option('--hostname <name>', "instead of the host's")
    .addOption(
      new Option('--net <name>', "the host's network, or none")
        .choices(['host', 'none'])
        .default('host'),
    )
    .option('--read-only', 'make the root file system read-only')
    .option('--memory <bytes>', 'most memory, such as 512m', parseMemory)
    .option('--cpus <number>', 'most processor time, such as 1.5', parseCpus)
    .option('--cap-add <name>', 'a capability more, or ALL', collect())
    .option('--cap-drop <name>', 'a capability less, or ALL', collect())
    .option('--privileged', 'all capabilities and devices, and nothing hidden')
    .option('--device <source[:path][:rwm]>', 'a device of this machine', collect(parseDevice))
    .option('--ulimit <type=soft[:hard]>', 'a limit such as nofile=1024:4096', collect(parseUlimit))
    .option('--entrypoint <path>', "instead of the image's Entrypoint and Cmd; empty for none")
    .option('--label <name=value>', 'a note on the container', collect(parseLabel));
}

/** @throws SiphonError `usage` */
export async function containerRecord(
  request: { source: string; args: string[]; options: ContainerOptions; detached: boolean },
  { platform, plainHttp }: Pick<Settings, 'platform' | 'plainHttp'>,
): Promise<ContainerRecord> {
  const { source, args, options, detached } = request;
  const size = terminalSize();
  return {
    id: options.name ?? `siphon-${randomBytes(6).toString('hex')}`,
    source: absoluteSource(source),
    ...(platform === undefined ? {} : { platform }),
    ...(plainHttp === undefined ? {} : { plainHttp }),
    runtime: options.runtime,
    overrides: await overridesOf(args, options),
    labels: Object.fromEntries(options.label ?? []),
    detached,
    interactive: options.interactive === true,
    ...(size === undefined ? {} : { terminalSize: size }),
    autoRemove: options.rm === true,
    createdAt: new Date().toISOString(),
  };
}

/** Option by option, since an absent one leaves what the image says. */
async function overridesOf(args: string[], options: ContainerOptions): Promise<ContainerOverrides> {
  const { entrypoint, user, workdir, tty, hostname, net, readOnly, privileged } = options;
  const { memory, cpus, capAdd, capDrop, device, ulimit } = options;
  const mounts = [...(options.mount ?? []), ...(options.volume ?? [])];
  checkDistinct(mounts);
  await makeMissingFolders(options.volume ?? []);
  const env = await givenEnv(options);
  return {
    network: net,
    ...(args.length === 0 ? {} : { args }),
    ...(entrypoint === undefined ? {} : { entrypoint: [entrypoint] }),
    ...(env.length === 0 ? {} : { env }),
    ...(user === undefined ? {} : { user }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(tty === undefined ? {} : { terminal: tty }),
    ...(hostname === undefined ? {} : { hostname }),
    ...(readOnly === undefined ? {} : { readOnlyRoot: readOnly }),
    ...(privileged === undefined ? {} : { privileged }),
    ...(mounts.length === 0 ? {} : { mounts }),
    ...(memory === undefined ? {} : { memory }),
    ...(cpus === undefined ? {} : { cpus }),
    ...(capAdd === undefined ? {} : { capAdd }),
    ...(capDrop === undefined ? {} : { capDrop }),
    ...(device === undefined ? {} : { devices: device }),
    ...(ulimit === undefined ? {} : { rlimits: ulimit }),
  };
}

function checkDistinct(mounts: readonly Mount[]): void {
  const seen = new Set<string>();
  for (const { destination } of mounts) {
    if (seen.has(destination)) {
      throw new SiphonError(
        'usage',
        `Cannot mount on "${destination}" twice: expected each path at most once`,
      );
    }
    seen.add(destination);
  }
}

/** As docker does for a volume, and not for a mount. */
async function makeMissingFolders(volumes: readonly Mount[]): Promise<void> {
  for (const { source } of volumes) {
    if (!(await fileExists(source))) await mkdir(source, { recursive: true });
  }
}

/** Files first; a name alone takes the value that it has here and now. */
async function givenEnv({ env = [], envFile = [] }: ContainerOptions): Promise<string[]> {
  const files = await Promise.all(envFile.map(readEnvFile));
  return [...files.flat(), ...env].map((entry) => {
    const value = entry.includes('=') ? undefined : process.env[entry];
    return value === undefined ? entry : `${entry}=${value}`;
  });
}

/** @throws SiphonError `usage` where it cannot be read, or is no text */
async function readEnvFile(path: string): Promise<string[]> {
  try {
    return parseEnvFile(new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path)));
  } catch (cause) {
    if (cause instanceof SiphonError) throw cause;
    throw new SiphonError(
      'usage',
      `Cannot use --env-file "${path}": ${errorMessage(cause)}, expected a text file`,
      { cause },
    );
  }
}

/** The same source, wherever the one who reads it stands. */
function absoluteSource(text: string): string {
  const source = parseSource(text);
  return 'path' in source ? formatSource({ ...source, path: resolve(source.path) }) : text;
}

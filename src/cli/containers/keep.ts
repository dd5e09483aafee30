/** A container kept by this process, or by one of its own. */

import type { Command } from 'commander';
import { SiphonError } from '../../common/errors.js';
import { formatSource, parseSource } from '../../content/source.js';
import type { ContainerHome } from '../../exec/container-home.js';
import type { ContainerRecord } from '../../exec/container-record.js';
import type { RootfsProvider } from '../../exec/monitor-container.js';
import type { RootfsDecision } from '../../layers/container-rootfs.js';
import type { LayerListener } from '../../layers/layer-event.js';
import { reportToParent, startInBackground } from '../background.js';
import { untilAborted } from '../../common/until-aborted.js';
import { onImpatience } from '../interruption.js';
import { attachHere } from './attach.js';
import { layerHostStarter } from '../layer-host.js';
import { createProgress } from '../progress.js';
import { settingsOf } from '../settings.js';

export interface KeepOptions {
  command: Command;
  /** The person does not want it any more; listened to since before there was anything to leave behind. */
  interrupted: AbortSignal;
  /** Whether the container goes where it cannot be started. */
  removeFailed: boolean;
  /** The decision on the root filesystem is told. */
  verbose?: boolean;
  /** The container's process waits until somebody is attached. */
  awaitAttach?: boolean;
}

/** Runs the container to its end. @returns the exit code of its process */
export async function keepHere(home: ContainerHome, options: KeepOptions): Promise<number> {
  const { command, interrupted, removeFailed, verbose = false, awaitAttach = false } = options;
  const { monitorContainer } = await import('../../exec/monitor-container.js');
  const record = await home.requireRecord();
  const parent = reportToParent();
  const progress = parent ?? createProgress();
  const unwanted = parent === undefined ? interrupted : AbortSignal.any([interrupted, parent.gone]);
  const rootfs = await rootfsProvider(record, command, {
    signal: unwanted,
    onEvent: (event) => progress.update(event),
    onEnd: () => progress.end(),
  });
  using impatience = onImpatience();
  let hasBegun = false;
  const code = await monitorContainer(home, {
    rootfs,
    removeFailed,
    unwanted,
    log: settingsOf(command).log,
    onRootfs: (decision) => {
      if (verbose) tellRootfs(decision);
    },
    onStart: () => {
      hasBegun = true;
      parent?.ready();
    },
    ...(parent === undefined || !awaitAttach
      ? {}
      : {
          beforeRun: (attached) => {
            parent.attachable();
            return untilAborted(attached, parent.gone);
          },
        }),
  }).catch((error: unknown) => {
    throw unwanted.aborted && !hasBegun ? startInterrupted(record, removeFailed, error) : error;
  });
  if (parent === undefined && impatience.signal.aborted) process.exit(code); // with what nobody reads unwritten
  return code;
}

/** Resolves when the container's process runs, kept by a process that outlives this one. */
export async function keepInBackground(home: ContainerHome, options: KeepOptions): Promise<void> {
  const { verbose = false } = options;
  await startKeeping(home, options);
  const { rootfs } = await home.state();
  if (verbose && rootfs !== undefined) tellRootfs(rootfs);
}

/**
 * The same with this process's streams attached from the container's beginning.
 * @returns the exit code of its process; `undefined` where it goes on without us
 */
export async function keepAttached(
  home: ContainerHome,
  options: KeepOptions,
): Promise<number | undefined> {
  const { verbose = false } = options;
  let attached: Promise<number | undefined> | undefined;
  const attach = async (): Promise<number | undefined> => {
    const { rootfs } = await home.state();
    if (verbose && rootfs !== undefined) tellRootfs(rootfs);
    return attachHere(home, true);
  };
  const onAttachable = (): void => {
    attached = attach();
    attached.catch(() => {}); // what keeps the container from starting is told instead
  };
  try {
    await startKeeping(home, options, onAttachable);
    return await attached;
  } finally {
    await attached?.catch(() => {});
  }
}

/** @param onAttachable as of BackgroundCommand; without it the container begins at once */
function startKeeping(
  home: ContainerHome,
  { command, interrupted, removeFailed }: KeepOptions,
  onAttachable?: () => void,
): Promise<void> {
  const flags = [
    ...(onAttachable === undefined ? [] : ['--await-attach']),
    ...(removeFailed ? ['--remove-failed'] : []),
  ];
  return startInBackground(command, {
    args: ['keep-container', ...flags, home.id],
    purpose: `start container "${home.id}"`,
    logName: 'run.log',
    interrupted,
    ...(onAttachable === undefined ? {} : { onAttachable }),
  });
}

function startInterrupted(
  { id, source }: ContainerRecord,
  removed: boolean,
  cause: unknown,
): SiphonError {
  const image = formatSource(parseSource(source));
  const left = removed ? 'Nothing is left of the container' : 'The container is as it was';
  return new SiphonError(
    'cancelled',
    `Cannot start container "${id}" of "${image}": it was interrupted`,
    { cause, hint: `${left}; what has come of the image stays for the next start.` },
  );
}

function tellRootfs(decision: string): void {
  process.stderr.write(`root file system: ${decision}\n`);
}

/** What makes the root filesystem of the container. */
async function rootfsProvider(
  record: ContainerRecord,
  command: Command,
  work: { signal: AbortSignal; onEvent: LayerListener; onEnd: () => void },
): Promise<RootfsProvider> {
  const { clearContainerRootfs, openContainerRootfs } =
    await import('../../layers/container-rootfs.js');
  const { root, access, log } = settingsOf(command);
  const { source, platform, plainHttp } = record;
  return {
    clear: clearContainerRootfs,
    async open(folder) {
      const rootfs = await openContainerRootfs({
        root,
        access,
        log,
        folder,
        startHost: layerHostStarter(command),
        source: parseSource(source),
        ...(platform === undefined ? {} : { platform }),
        ...(plainHttp === undefined ? {} : { plainHttp }),
        signal: work.signal,
        onEvent: work.onEvent,
      }).finally(work.onEnd);
      const { config, descriptor } = rootfs.image;
      return {
        path: rootfs.path,
        config,
        ...(descriptor === undefined ? {} : { manifest: descriptor.digest }),
        decision: wordsOf(rootfs.decision),
        ...(rootfs.unserved === undefined ? {} : { unserved: rootfs.unserved }),
        close: () => rootfs.close(),
      };
    },
  };
}

function wordsOf(decision: RootfsDecision): string {
  if (decision.way === 'unpacked') return `unpacked whole: ${decision.reason}`;
  const { indexed, streamed } = decision;
  return `served lazily: ${indexed} layers by an index, ${streamed} from blobs that came whole`;
}

/** The container `id` of this command's root. @throws SiphonError `not-found` */
export async function openHome(id: string, command: Command): Promise<ContainerHome> {
  const { ContainerHome: Homes } = await import('../../exec/container-home.js');
  return Homes.open(settingsOf(command).root, id);
}

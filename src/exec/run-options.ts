/** What a caller says about a container to run. */

import type { Readable, Writable } from 'node:stream';
import type { Logger } from '../common/log.js';
import type { RunnableImage } from './image-process.js';
import type { CapabilityChoice } from './capabilities.js';
import type { DeviceRequest } from './host-devices.js';
import type { Mount, ResourceLimit } from './runtime-spec.js';

/** `host`: the namespace of the caller. `none`: one of its own with nothing but loopback. */
export type Network = 'host' | 'none';

/**
 * What differs from the image config and the defaults. An absent field leaves what the image says.
 */
export interface ProcessOverrides {
  /** Replaces `Cmd` and is appended to `Entrypoint`. */
  args?: readonly string[];
  /** Replaces `Entrypoint`, and drops `Cmd` with it. */
  entrypoint?: readonly string[];
  /** `NAME=value` sets, a bare `NAME` takes the value of the caller's environment, if any. */
  env?: readonly string[];
  /** As {@link ImageProcess.User}. */
  user?: string;
  /** An absolute path. */
  workdir?: string;
  /** A pseudo terminal as standard input, output and error. */
  terminal?: boolean;
}

export interface ContainerOverrides extends ProcessOverrides, CapabilityChoice {
  /** Default: that of the host. */
  hostname?: string;
  /** Default `host`. */
  network?: Network;
  readOnlyRoot?: boolean;
  /** Come after the default mounts; one with the same destination replaces the default one. */
  mounts?: readonly Mount[];
  /** Default `default`: what containerd allows. */
  seccomp?: 'default' | 'unconfined';
  /** Bytes that the container's processes may use together; beyond that the kernel kills. */
  memory?: number;
  /** Processors' worth of time; fractions count. */
  cpus?: number;
  /** Beside the few harmless ones that every container has. */
  devices?: readonly DeviceRequest[];
  /** Take the place of the default ones of the same type. */
  rlimits?: readonly ResourceLimit[];
}

/** Where the process's standard streams lead. Anything but a stream goes to the process as it is. */
export interface ProcessStdio {
  /** Default `inherit`; a number is a file descriptor. */
  stdin?: 'inherit' | 'ignore' | number | Readable;
  stdout?: 'inherit' | 'ignore' | number | Writable;
  stderr?: 'inherit' | 'ignore' | number | Writable;
}

export interface RunContainerOptions extends ContainerOverrides {
  /** Names the container on this host: letters, digits, `_.-`, at most 76, first a letter or digit. */
  id: string;
  /** A folder for the bundle and the runtime's state; made, and removed at the end. */
  directory: string;
  /** The mounted, writable root filesystem. May be served by this very process. */
  rootfs: string;
  /** The image config. */
  config: RunnableImage;
  /** `runc` (default), `crun`, or the path of another runtime with runc's command line. */
  runtime?: string;
  stdio?: ProcessStdio;
  /** Columns and rows that the container's terminal has from the start. Default: our own terminal's. */
  terminalSize?: readonly [number, number] | undefined;
  /** Called once the container's process exists. */
  onStart?: () => unknown;
  /** Emits the signals to hand on to the container. Default: this process. */
  signalSource?: NodeJS.EventEmitter;
  /** Kills and removes the container. Signals of ours are handed on: do not tie it to these. */
  signal: AbortSignal;
  /** The container is not begun where this is aborted before; later it means nothing, for signals are handed on. */
  unwanted?: AbortSignal;
  log: Logger;
}

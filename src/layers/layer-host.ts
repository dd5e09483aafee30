/**
 * The process that serves one image's layers, as the one sees it that started it. Whoever mounts an overlay on
 * the layers, or looks into it, may wait for the server inside the kernel, where not even SIGKILL ends the
 * wait; so it must not be the server itself, which could never be succeeded then.
 */

export interface LayerHostOptions {
  /** The layers' FUSE mounts are made in it. */
  directory: string;
  /** Where the overlay will stand. The host ends with it, or with this process where it does not stand yet. */
  target: string;
  /** Signals that ask to end wait until the overlay is gone: others rely on it to end in order. */
  untilUnmounted: boolean;
}

export interface LayerHost {
  /** Process id of its keeper. */
  readonly pid: number;
  /** Resolves to the exit code when it has ended, whoever ended it. */
  readonly ended: Promise<number>;
  /**
   * Resolves once the layers have their folders; from then on a server that dies is succeeded by another.
   * @param numbers of layers of this root whose indexes are here
   * @returns the folder of each, as a path below `directory`
   * @throws SiphonError what the server failed with
   */
  serve(numbers: readonly number[]): Promise<readonly string[]>;
  /** Lets it outlive this process. */
  release(): void;
  /** Ends it, its FUSE mounts too; the overlay must be gone. */
  stop(): Promise<void>;
}

/** Starts the process, and waits for nothing. */
export type StartLayerHost = (options: LayerHostOptions) => Promise<LayerHost>;

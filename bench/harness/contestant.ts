/** What the harness asks of those who take part, each in a file of `bench/contestants`. */

import type { BenchRegistry } from './bench-registry.js';
import type { ProgramFinder } from './program-finder.js';
import type { PublishedImage } from './published-image.js';
import type { Preparation } from './result.js';

/** Someone who brings an image from a registry to a running container. */
export interface StartContestant {
  name: string;
  /** For people: `siphon, streamed`. */
  title: string;
  /** Looks for its programs. */
  find(programs: ProgramFinder): Promise<Found>;
  /** Makes of an image in the registry what it starts from; without it, that is the image as it is. */
  prepare?(image: PublishedImage, tools: PrepareTools): Promise<PreparedImage>;
  /**
   * What {@link prepare} depends on beside the image; contestants that say the same share what was made.
   * Default: name and versions.
   */
  preparedBy?(versions: Record<string, string>): string;
  /** Starts its services on an empty folder. */
  open(place: Place, programs: ProgramFinder): Promise<Installation>;
}

export type Found = { versions: Record<string, string> } | { skipped: string };

/** Where a contestant lives for a while. */
export interface Place {
  /** Empty, for all that it stores; goes when it is closed. */
  folder: string;
  /** What every program of it is started with: it goes before the program and its arguments. */
  enter: readonly string[];
  signal: AbortSignal;
}

/** A contestant at work. Closing it ends all that it started and leaves no mount. */
export interface Installation extends AsyncDisposable {
  /** As a user would pull it. @param reference `HOST/REPOSITORY:TAG` */
  pull(reference: string): Promise<void>;
  /** @returns the command that runs a container in the foreground, and removes it at its end */
  runCommand(reference: string, container: ContainerOptions): string[];
  /** Ends a container that runs. */
  kill(id: string): Promise<void>;
  /** Why what it did since it was opened is not what it stands for: `layer sha256:… was unpacked`. */
  objections(image: PublishedImage): Promise<string[]>;
}

export interface ContainerOptions {
  id: string;
  /** Instead of the image's own command. */
  command?: readonly string[];
}

export interface PreparedImage {
  /** `REPOSITORY:TAG` */
  path: string;
  preparation: Preparation;
}

export interface PrepareTools {
  registry: BenchRegistry;
  programs: ProgramFinder;
  /** Empty, and gone afterwards. */
  folder: string;
  /** Tells this version of the contestant from others; may be part of a repository's name. */
  version: string;
  signal: AbortSignal;
}

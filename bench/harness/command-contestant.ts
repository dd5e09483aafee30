/** Those who do one piece of work on an image in one command that runs to its end. */

import type { LayerBlob } from '../images/layer-blobs.js';
import type { Found, Place } from './contestant.js';
import type { ProgramFinder } from './program-finder.js';

export interface CommandContestant {
  name: string;
  title: string;
  find(programs: ProgramFinder): Promise<Found>;
  /** Does what is not timed: services, for instance. */
  open(image: LayoutImage, place: Place): Promise<OpenCommand>;
}

/** Closing it ends what the command needed. */
export interface OpenCommand extends AsyncDisposable {
  /** Program and arguments; works in the place's folder. */
  command: readonly string[];
  /** What is wrong with what it made. */
  objections(): Promise<string[]>;
}

/** A command that needs nothing to be there. */
export function readyCommand(
  command: readonly string[],
  objections: () => Promise<string[]> = () => Promise.resolve([]),
): Promise<OpenCommand> {
  const close = (): Promise<void> => Promise.resolve();
  return Promise.resolve({ command, objections, [Symbol.asyncDispose]: close });
}

/** An image as an OCI layout on this disk. */
export interface LayoutImage {
  name: string;
  /** The layout's folder; its tag is `latest`. */
  layout: string;
  /** Bottom first. */
  layers: readonly LayerBlob[];
  /** Bytes of them. */
  size: number;
}

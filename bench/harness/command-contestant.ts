/** Those who do one piece of work on an image in one command that runs to its end. */

import type { Found, Place } from './contestant.js';
import type { ProgramFinder } from './program-finder.js';
import type { LayerBlob } from '../images/layer-blobs.js';

export interface CommandContestant {
  name: string;
  title: string;
  find(programs: ProgramFinder): Promise<Found>;
  /** What is done before anything is timed: services, for instance, which go when it is closed. */
  setUp?(image: LayoutImage, place: Place): Promise<AsyncDisposable>;
  /** @returns the command, which works in the place's folder */
  command(image: LayoutImage, place: Place): string[];
  /** What is wrong with what it made. */
  objections?(image: LayoutImage, place: Place): Promise<string[]>;
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

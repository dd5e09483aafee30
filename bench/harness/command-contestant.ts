/** Those who do one piece of work on an image in one command that runs to its end. */

import type { Found, Place } from './contestant.js';
import type { ProgramFinder } from './program-finder.js';

export interface CommandContestant {
  name: string;
  title: string;
  find(programs: ProgramFinder): Promise<Found>;
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
  /** Paths of the layers' blobs, bottom first. */
  blobs: readonly string[];
  /** Bytes of them. */
  size: number;
}

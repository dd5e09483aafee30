import type { StartContestant } from '../harness/contestant.js';
import { nydus } from './nydus.js';
import { overlayfs } from './overlayfs.js';
import { podman } from './podman.js';
import { siphonIndexed, siphonStreamed } from './siphon.js';
import { siphonRun } from './siphon-run.js';
import { soci } from './soci.js';
import { stargz } from './stargz.js';

/** Those that start containers; the first one is whom the others are compared with. */
export const START_CONTESTANTS: readonly StartContestant[] = [
  overlayfs,
  siphonStreamed,
  siphonIndexed,
  siphonRun,
  stargz,
  soci,
  nydus,
  podman,
];

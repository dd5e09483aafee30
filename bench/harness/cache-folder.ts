import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where benchmarks keep what is made once, unless told otherwise: images, conversions, programs, the registry. */
export const DEFAULT_CACHE = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'siphon-bench',
);

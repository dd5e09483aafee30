import { SiphonError } from '../common/errors.js';

/** Names of containerd's containers are not longer either. */
const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,75}$/;

/** @throws SiphonError `usage` where `id` cannot name a container */
export function checkContainerId(id: string): void {
  if (ID.test(id)) return;
  throw new SiphonError(
    'usage',
    `Cannot name a container "${id}": expected a letter or digit, then at most 75 more, "_", "." or "-"`,
  );
}

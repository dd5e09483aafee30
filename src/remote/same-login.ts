import type { Credentials } from './credentials.js';

/** Whether the two let in the same. */
export function isSameLogin(one: Credentials, other: Credentials): boolean {
  return (['username', 'password', 'identityToken', 'registryToken'] as const).every(
    (part) => one[part] === other[part],
  );
}

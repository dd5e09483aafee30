/** Whether this process sees other ids than the machine has: then it is in a user namespace. */

import { readFileSync } from 'node:fs';

/** @param uidMap text of /proc/self/uid_map, see user_namespaces(7) */
export function isUserNamespace(uidMap = readFileSync('/proc/self/uid_map', 'utf8')): boolean {
  return !/^\s*0\s+0\s+4294967295\s*$/.test(uidMap);
}

/**
 * Which devices a container may use, as rules of the device cgroup: nothing but the harmless ones
 * that the runtime also makes in /dev. The same as containerd's.
 */

import type { GivenDevice } from './host-devices.js';
import type { DeviceRule } from './runtime-spec.js';

/** `[major, minor]`; without a minor, all of the major. */
const CHARACTER_DEVICES: readonly (readonly [major: number, minor?: number])[] = [
  [1, 3], // /dev/null
  [1, 5], // /dev/zero
  [1, 7], // /dev/full
  [1, 8], // /dev/random
  [1, 9], // /dev/urandom
  [5, 0], // /dev/tty
  [5, 1], // /dev/console
  [5, 2], // /dev/ptmx
  [136], // /dev/pts/*
];

/** @param given devices beside the harmless ones */
export function deviceRules(given: readonly GivenDevice[] = []): DeviceRule[] {
  return [
    { allow: false, access: 'rwm' },
    ...CHARACTER_DEVICES.map(([major, minor]): DeviceRule => {
      const rule = { allow: true, type: 'c', major, access: 'rwm' } as const;
      return minor === undefined ? rule : { ...rule, minor };
    }),
    ...given.map(({ node: { type, major, minor }, access }) => {
      return { allow: true, type, major, minor, access };
    }),
  ];
}

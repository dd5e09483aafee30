import type { Process, RuntimeSpec } from './runtime-spec.js';

/** No limit, as a {@link ResourceLimit} has it: the number next to RLIM_INFINITY, 2^64 - 1, of which there is none. */
export const UNLIMITED = 2 ** 64;

/** config.json, or its `process`, for a runtime, which reads limits as whole numbers of 64 bits. */
export function specText(spec: RuntimeSpec | Process): string {
  return JSON.stringify(spec).replaceAll(
    /("(?:hard|soft)":)18446744073709552000/g,
    (_, name: string) => `${name}18446744073709551615`,
  );
}

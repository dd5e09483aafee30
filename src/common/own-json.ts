/**
 * Reads JSON that this program wrote itself, for what a server needs before it answers its first
 * request: loading a schema library takes longer than all the rest of that.
 */

import { SiphonError } from './errors.js';

interface Types {
  string: string;
  number: number;
  boolean: boolean;
}

export type Fields = Record<string, unknown>;

/** @throws SiphonError `corrupt` where the value is no object */
export function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value === 'object' && value !== null) return value as Fields; // an object's keys are text
  throw new SiphonError(
    'corrupt',
    `Cannot read ${what}: it is ${typeof value}, expected an object`,
  );
}

/** @throws SiphonError `corrupt` where the field is missing or of another type */
export function field<T extends keyof Types>(fields: Fields, name: string, type: T): Types[T] {
  const value = fields[name];
  if (typeof value === type) return value as Types[T]; // by the line's own check
  throw new SiphonError(
    'corrupt',
    `Cannot read field "${name}": it is ${typeof value}, expected a ${type}`,
  );
}

import { SiphonError } from '../common/errors.js';
import type { ImageProcess } from './image-process.js';
import type { ProcessOverrides } from './run-options.js';

/**
 * The command line of a container's process, by docker's rules: given arguments take the place of
 * `Cmd` and follow `Entrypoint`; a given entrypoint takes the place of `Entrypoint` and drops `Cmd`.
 * An entrypoint of one empty string clears the image's.
 * @throws SiphonError `usage` where nothing is left to run
 */
export function processArgs(image: ImageProcess, overrides: ProcessOverrides): string[] {
  const given = overrides.args ?? [];
  const cmd = overrides.entrypoint === undefined ? (image.Cmd ?? []) : [];
  const args = [
    ...cleared(overrides.entrypoint ?? image.Entrypoint ?? []),
    ...(given.length > 0 ? given : cmd),
  ];
  if (args[0] === undefined || args[0] === '') {
    throw new SiphonError(
      'usage',
      'Cannot run the image: it names no command, expected one after the image',
    );
  }
  return args;
}

function cleared(entrypoint: readonly string[]): readonly string[] {
  return entrypoint.length === 1 && entrypoint[0] === '' ? [] : entrypoint;
}

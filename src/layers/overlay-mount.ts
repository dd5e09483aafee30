/** The kernel's overlay over a stack of folders, mounted by ourselves. */

import { join } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import { MS, mount } from '../ffi/libc.js';

/** mount(2) takes one page of options, its closing zero byte included. */
const optionsLimit = 4095;
/** OVL_MAX_STACK of Linux. */
const MAX_LOWERDIRS = 500;

export interface OverlayStack {
  /** Folder that all of `lowerdirs` lie in. */
  base: string;
  /** Paths below `base`, topmost layer first; at least two without a writable folder. */
  lowerdirs: readonly string[];
  /** Those of them that say nothing which the others do not: they are left out where there would be too many. */
  dispensable?: ReadonlySet<string>;
  /** Where writes go; without it the overlay is read-only. Both on one file system. */
  writable?: { upperdir: string; workdir: string };
  target: string;
}

/**
 * Mounts the stack on `target`.
 * @throws SiphonError `busy`; `failed-precondition` where the kernel refuses
 */
export function mountOverlay(stack: OverlayStack): void {
  try {
    mountStack(stack);
  } catch (error) {
    throw new SiphonError(
      systemCode(error) === 'EBUSY' ? 'busy' : 'failed-precondition',
      `Cannot mount the image on "${stack.target}": ${systemCode(error) ?? 'unknown error'}, expected overlayfs over ${stack.lowerdirs.length} layers`,
      { cause: error },
    );
  }
}

function mountStack(stack: OverlayStack): void {
  const lowerdirs = fittingLowerdirs(stack);
  const long = overlayOptions(
    stack,
    lowerdirs.map((name) => join(stack.base, name)),
  );
  if (long.length <= optionsLimit) return mountWith(stack, long);
  const before = process.cwd();
  process.chdir(stack.base);
  try {
    mountWith(stack, overlayOptions(stack, lowerdirs));
  } finally {
    process.chdir(before);
  }
}

function fittingLowerdirs(stack: OverlayStack): readonly string[] {
  const { lowerdirs, dispensable } = stack;
  const fits =
    lowerdirs.length <= MAX_LOWERDIRS && overlayOptions(stack, lowerdirs).length <= optionsLimit;
  return fits ? lowerdirs : lowerdirs.filter((name) => dispensable?.has(name) !== true);
}

function mountWith(stack: OverlayStack, data: string): void {
  const flags = stack.writable === undefined ? MS.RDONLY : 0;
  mount({ source: 'siphon', target: stack.target, type: 'overlay', flags, data });
}

function overlayOptions(stack: OverlayStack, lowerdirs: readonly string[]): string {
  // The lower folders lie on several file systems: without it, stat and readdir differ in inode numbers.
  const options = [`lowerdir=${lowerdirs.map(escapePath).join(':')}`, 'xino=on'];
  if (stack.writable !== undefined) {
    // With an index of the upper folder, which may be the kernel's default, no lower folder could come later.
    options.push('index=off');
    options.push(`upperdir=${escapeOption(stack.writable.upperdir)}`);
    options.push(`workdir=${escapeOption(stack.writable.workdir)}`);
  }
  return options.join(',');
}

function escapePath(path: string): string {
  return escapeOption(path.replaceAll('\\', '\\\\').replaceAll(':', '\\:'));
}

function escapeOption(text: string): string {
  return text.replaceAll(',', '\\,');
}

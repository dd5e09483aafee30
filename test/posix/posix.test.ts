/** siphon's mounts, seen by programs, against plain files. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fuseMissing } from '../support/served-folders.js';
import type { Check, Contestant } from './check.js';
import { attributeChecks } from './checks/attributes.js';
import { contentChecks } from './checks/contents.js';
import { directoryChecks } from './checks/directories.js';
import { programChecks } from './checks/programs.js';
import { refusalChecks } from './checks/refusals.js';
import { type Contestants, openContestants } from './contestants.js';

const groups = {
  directories: directoryChecks,
  attributes: attributeChecks,
  contents: contentChecks,
  refusals: refusalChecks,
  programs: programChecks,
};
const names: Record<Contestant, string> = {
  kernel: 'the kernel driver',
  overlay: 'the kernel driver below overlayfs',
  libfuse: 'the libfuse driver',
};

const missing = fuseMissing();

describe.skipIf(missing !== undefined)(`posix (${missing ?? 'against plain files'})`, () => {
  let contestants: Contestants;

  beforeAll(async () => {
    contestants = await openContestants();
  }, 120_000);

  afterAll(() => contestants?.[Symbol.asyncDispose](), 60_000);

  async function compare(check: Check, contestant: Contestant): Promise<void> {
    const { observe, exceptions = {} } = check;
    const reference = await observe(contestants.references[contestant]);
    const wanted = 'expected' in check ? check.expected : reference;
    if ('expected' in check) expect(reference, 'of plain files').toEqual(wanted);
    const seen = await observe(contestants.roots[contestant]);
    if (exceptions[contestant] === undefined) expect(seen).toEqual(wanted);
    else expect(seen).not.toEqual(wanted);
  }

  for (const contestant of ['kernel', 'overlay', 'libfuse'] as const) {
    describe(names[contestant], () => {
      for (const [group, checks] of Object.entries(groups)) {
        describe(group, () => {
          for (const check of checks) {
            const reason = check.exceptions?.[contestant];
            const title = reason === undefined ? check.name : `NOT ${check.name}: ${reason}`;
            it(title, () => compare(check, contestant));
          }
        });
      }
    });
  }
});

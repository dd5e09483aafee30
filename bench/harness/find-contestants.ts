import type { Found } from './contestant.js';
import type { ProgramFinder } from './program-finder.js';
import type { Contestant } from './result.js';

/** Whoever takes part in anything. */
interface Findable {
  name: string;
  title: string;
  find(programs: ProgramFinder): Promise<Found>;
}

/** Of a row: why there is nothing in it. */
export function skippedOf(contestant: Contestant | undefined): Pick<Contestant, 'skipped'> {
  return contestant?.skipped === undefined ? {} : { skipped: contestant.skipped };
}

/** Each with its versions, or the reason why it is not here; one that cannot be looked for is not here either. */
export function findContestants(
  all: readonly Findable[],
  programs: ProgramFinder,
): Promise<Contestant[]> {
  return Promise.all(
    all.map(async (one) => {
      const { name, title } = one;
      const found = await one
        .find(programs)
        .catch((error: unknown): Found => ({ skipped: String(error) }));
      return { name, title, versions: {}, ...found };
    }),
  );
}

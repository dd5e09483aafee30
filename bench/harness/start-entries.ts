/** An image made ready for all who start it: in the registry, and converted or indexed for those who need that. */

import { errorMessage } from '#src/common/errors.js';
import type { StartEntry, StartScenarioOptions } from '../scenarios/starts.js';
import type { StartImage } from '../scenarios/start-stages.js';
import type { Bench } from './bench.js';
import { type ImageChoice, publishImage } from './choose-images.js';
import type { StartContestant } from './contestant.js';
import { preparedImage } from './prepared-images.js';
import type { ScenarioRow } from './result.js';

/** One that is here. */
export interface PresentContestant {
  contestant: StartContestant;
  versions: Record<string, string>;
}

/** @throws Error where the image cannot be made or copied */
export async function prepareStarts(
  bench: Bench,
  choice: ImageChoice,
  present: readonly PresentContestant[],
): Promise<StartScenarioOptions> {
  const start = await publishImage(bench, choice);
  const second = choice.second === undefined ? undefined : await publishImage(bench, choice.second);
  const { name, layers } = start.image;
  bench.book.addImage({ name, title: choice.title, layers: [...layers] });
  const entries: StartEntry[] = [];
  const unprepared: ScenarioRow[] = [];
  for (const one of present) {
    try {
      entries.push(await entryFor(bench, one, { start, second }));
    } catch (error) {
      bench.signal.throwIfAborted();
      const skipped = `the image cannot be made ready for it: ${errorMessage(error)}`;
      unprepared.push({ contestant: one.contestant.name, skipped, runs: [] });
    }
  }
  return { image: name, entries, unprepared };
}

/** The images as this contestant takes them. */
async function entryFor(
  bench: Bench,
  { contestant, versions }: PresentContestant,
  { start, second }: { start: StartImage; second: StartImage | undefined },
): Promise<StartEntry> {
  const own = async (one: StartImage): Promise<Pick<StartEntry, 'start' | 'preparation'>> => {
    const prepared = await preparedImage(bench, { contestant, versions, image: one.image });
    if (prepared === undefined) return { start: one };
    const image = await bench.registry.image(one.image.name, prepared.path);
    return { start: { ...one, image }, preparation: prepared.preparation };
  };
  const other = second === undefined ? {} : { second: (await own(second)).start };
  return { contestant, ...(await own(start)), ...other };
}

/**
 * What has been found so far, as a result that is complete at any moment: whoever keeps it after each run has
 * everything but the run that was cut off.
 */

import { type Environment, RESULT_VERSION } from './result.js';
import type { BenchImage, BenchResult, Contestant, ScenarioResult } from './result.js';

export interface ResultHead {
  /** What was typed. */
  command: string;
  environment: Omit<Environment, 'loadAfter'>;
  /** The load average over the last minute. */
  load: () => number;
  /** Told whenever there is more. */
  keep: (result: BenchResult) => Promise<void>;
}

/** Said until the last run is over. */
const RUNNING = 'it was written while the benchmark ran';

export class ResultBook {
  readonly #head: ResultHead;
  readonly #startedAt = new Date().toISOString();
  readonly #contestants = new Map<string, Contestant>();
  readonly #images = new Map<string, BenchImage>();
  /** By scenario and image. */
  readonly #scenarios = new Map<string, ScenarioResult>();
  readonly #troubles: string[] = [];

  constructor(head: ResultHead) {
    this.#head = head;
  }

  /** Who takes part, or why not. */
  addContestants(contestants: readonly Contestant[]): void {
    for (const one of contestants) this.#contestants.set(one.name, one);
  }

  addImage(image: BenchImage): void {
    this.#images.set(image.name, image);
  }

  /** Takes the place of what was said of the same scenario and image. */
  async put(results: readonly ScenarioResult[]): Promise<void> {
    for (const one of results) this.#scenarios.set(`${one.name} ${one.image ?? ''}`, one);
    await this.#head.keep(this.result(RUNNING));
  }

  /** Something that could not be measured at all, and why. */
  async addTrouble(text: string): Promise<void> {
    this.#troubles.push(text);
    await this.#head.keep(this.result(RUNNING));
  }

  /** @param unfinished why not all of it is here; without it, all is */
  result(unfinished?: string): BenchResult {
    const { command, environment, load } = this.#head;
    return {
      version: RESULT_VERSION,
      command,
      startedAt: this.#startedAt,
      finishedAt: new Date().toISOString(),
      ...(unfinished === undefined ? {} : { unfinished }),
      environment: { ...environment, loadAfter: load() },
      contestants: [...this.#contestants.values()],
      images: [...this.#images.values()],
      scenarios: [...this.#scenarios.values()],
      troubles: [...this.#troubles],
    };
  }
}

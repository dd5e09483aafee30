/** Taking turns: work under the same key runs one after another within this process. */

const last = new Map<string, Promise<unknown>>();

/** Runs `work` once all earlier work under `key` is over, however that ended. */
export async function inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
  const before = last.get(key) ?? Promise.resolve();
  const turn = before.then(work, work);
  last.set(key, turn);
  try {
    return await turn;
  } finally {
    if (last.get(key) === turn) last.delete(key);
  }
}

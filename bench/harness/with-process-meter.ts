import type { ProcessGroup } from '../meters/process-group.js';
import { startProcessMeter } from '../meters/process-meter.js';
import type { ProcessUse } from './result.js';

/** What `work` gives, and what the group's processes took meanwhile; where it fails, the meter ends, too. */
export async function withProcessMeter<T>(
  group: ProcessGroup,
  work: () => Promise<T>,
): Promise<{ value: T; processes: ProcessUse[] }> {
  const meter = await startProcessMeter(group);
  const ended = work().then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  const outcome = await ended;
  const processes = await meter.stop();
  if ('error' in outcome) throw outcome.error;
  return { value: outcome.value, processes };
}

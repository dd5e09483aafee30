import { Command } from 'commander';
import type { ServiceStatus } from '../../monitor/service-status.js';
import { formatBytes, formatTable } from '../format.js';
import { settingsOf } from '../settings.js';

/** `siphon status` */
export function statusCommand(): Command {
  return new Command('status')
    .description('tell how the service on the root folder does')
    .action(async (_options: unknown, command: Command) => {
      const { root, json } = settingsOf(command);
      const { askService } = await import('../../monitor/ask-service.js');
      const status = await askService(root);
      process.stdout.write(json ? `${JSON.stringify(status, undefined, 2)}\n` : textOf(status));
    });
}

/** How the reasons for fetching are told. */
const FETCHES: Record<string, string> = {
  waiting: 'for reads that wait',
  prefetch: 'ahead of reads',
  fill: 'to have layers whole',
};

function textOf(status: ServiceStatus): string {
  const { serverPid, keeperPid, version, root, address, lazy, uptimeSeconds, counters } = status;
  const facts = [
    `siphon ${version}, process ${serverPid}${keeperPid === undefined ? '' : ` (keeper ${keeperPid})`}, up ${Math.floor(uptimeSeconds)} s`,
    `root ${root}, for containerd at ${address}${lazy ? '' : ', lazy layers off'}`,
    `from registries: ${formatBytes(counters.registryBytes)} in ${counters.registryRequests} requests, ${counters.spansFetched} spans`,
    ...counters.registries.map(
      ({ host, requests, unanswered, receivedBytes, meanSeconds }) =>
        `  ${host}: ${formatBytes(receivedBytes)} in ${requests} requests, ${unanswered} unanswered, ${Math.round(meanSeconds * 1000)} ms each`,
    ),
    ...counters.fetches.map(
      (one) =>
        `${FETCHES[one.class] ?? one.class}: ${formatBytes(one.bytes)} in ${one.requests} requests, ${one.queued} in the queue`,
    ),
    `cache: ${formatBytes(counters.cache.size)} of ${formatBytes(counters.cache.limit)} (large files kept apart: ${formatBytes(counters.cache.largeFiles)}), ${formatBytes(counters.cache.evictedBytes)} taken out`,
    `read: ${formatBytes(counters.readBytes)}, ${counters.readsThatWaited} reads waited, ${counters.readErrors} failed`,
    ...counters.layers.map(
      ({ decision, reason, count }) => `layers ${decision} (${reason}): ${count}`,
    ),
  ];
  const rows = status.layers.map((layer) => [
    String(layer.number),
    layer.digest,
    layer.decision,
    formatBytes(layer.size),
    formatBytes(layer.filledBytes),
    formatBytes(layer.cachedBytes),
    layer.servedFrom,
  ]);
  const heading = ['LAYER', 'DIGEST', 'DECISION', 'SIZE', 'FILLED', 'CACHED', 'FROM'];
  const table = rows.length === 0 ? '' : `\n${formatTable(heading, rows)}`;
  return `${facts.join('\n')}\n${table}`;
}

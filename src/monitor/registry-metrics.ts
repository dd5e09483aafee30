/** What was asked of registries, host by host, as metrics and as status. */

import { Counter, Histogram, type MetricValueWithName, type Registry } from 'prom-client';
import { ANSWER_TIMES, type HostTraffic, requestsIn, trafficByHost } from '../remote/traffic.js';
import type { HostStatus } from './service-status.js';

export function addRegistryMetrics(registry: Registry): void {
  const registers = [registry];
  const requests: Counter<'host' | 'answer'> = new Counter({
    name: 'siphon_registry_requests_total',
    help: 'Requests sent to registries, their token services and stores, by what came of them',
    labelNames: ['host', 'answer'],
    registers,
    collect: (): void => {
      requests.reset();
      for (const [host, traffic] of trafficByHost())
        for (const [answer, count] of traffic.requests) requests.inc({ host, answer }, count);
    },
  });
  const bytes = (name: string, help: string, read: (traffic: HostTraffic) => number): void => {
    const counter: Counter<'host'> = new Counter({
      name,
      help,
      labelNames: ['host'],
      registers,
      collect: (): void => {
        counter.reset();
        for (const [host, traffic] of trafficByHost()) counter.inc({ host }, read(traffic));
      },
    });
  };
  bytes(
    'siphon_registry_received_bytes_total',
    'Bytes of bodies received from registries',
    ({ receivedBytes }) => receivedBytes,
  );
  bytes(
    'siphon_registry_sent_bytes_total',
    'Bytes of bodies sent to registries',
    ({ sentBytes }) => sentBytes,
  );
  registry.registerMetric(new AnswerTimes());
}

/** Most requests first. */
export function registryStatus(): HostStatus[] {
  return [...trafficByHost()]
    .map(([host, traffic]) => {
      const { receivedBytes, sentBytes, seconds } = traffic;
      const requests = requestsIn(traffic);
      const unanswered = traffic.requests.get('none') ?? 0;
      const meanSeconds = requests === unanswered ? 0 : seconds / (requests - unanswered);
      return { host, requests, unanswered, receivedBytes, sentBytes, meanSeconds };
    })
    .toSorted((one, other) => other.requests - one.requests);
}

const TIMES = 'siphon_registry_answer_seconds';
const HELP = 'Time from a request to the headers of its answer';

/** Counted elsewhere, and only shown here. */
class AnswerTimes extends Histogram<'host'> {
  constructor() {
    super({
      name: TIMES,
      help: HELP,
      labelNames: ['host'],
      buckets: ANSWER_TIMES,
      registers: [],
    });
  }

  /** What prom-client makes its answers of, though its types do not say so. */
  getForPromString(): Promise<object> {
    const values = [...trafficByHost()].flatMap(([host, traffic]) => valuesOf(host, traffic));
    return Promise.resolve({
      name: TIMES,
      help: HELP,
      type: 'histogram',
      aggregator: 'sum',
      values,
    });
  }
}

function valuesOf(host: string, { times, seconds }: HostTraffic): MetricValueWithName<'host'>[] {
  let count = 0;
  const buckets = times.map((here, at) => {
    count += here;
    const labels = { host, le: ANSWER_TIMES[at] ?? '+Inf' };
    return { metricName: `${TIMES}_bucket`, labels, value: count };
  });
  return [
    ...buckets,
    { metricName: `${TIMES}_sum`, labels: { host }, value: seconds },
    { metricName: `${TIMES}_count`, labels: { host }, value: count },
  ];
}

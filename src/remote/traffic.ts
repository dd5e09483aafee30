/** What this process has asked of hosts, all clients together; counted where requests go out and bytes come in. */

/** What came of a request: the first digit of its status, or that no answer came. */
export type AnswerClass = '1xx' | '2xx' | '3xx' | '4xx' | '5xx' | 'none';

export interface HostTraffic {
  /** By what came of them; attempts, redirects and token requests among them. */
  requests: Map<AnswerClass, number>;
  /** Of bodies that somebody wanted. */
  receivedBytes: number;
  /** Of bodies, as far as a connection took them. */
  sentBytes: number;
  /** Seconds from requests to the headers of their answers, in all. */
  seconds: number;
  /** Answers that took at most so long as {@link ANSWER_TIMES} says at the same place, and no bound below. */
  times: number[];
}

/** Bounds in seconds: from a cache next door to a registry that is overloaded; what is slower comes last. */
export const ANSWER_TIMES = [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];
/** Hosts that are told apart; redirects may lead to any number. */
const MAX_HOSTS = 64;
const OTHERS = 'others';

const hosts = new Map<string, HostTraffic>();

/** What is counted for `host`, as dialed. */
export function trafficOf(host: string): HostTraffic {
  const name = hosts.has(host) || hosts.size < MAX_HOSTS ? host : OTHERS;
  let traffic = hosts.get(name);
  if (traffic === undefined) {
    const times = [...ANSWER_TIMES, Infinity].map(() => 0);
    traffic = { requests: new Map(), receivedBytes: 0, sentBytes: 0, seconds: 0, times };
    hosts.set(name, traffic);
  }
  return traffic;
}

/** By host, as dialed; in the order in which they were first asked. */
export function trafficByHost(): ReadonlyMap<string, HostTraffic> {
  return hosts;
}

/** Notes that an answer's headers came after `seconds`. */
export function countAnswer(traffic: HostTraffic, status: number, seconds: number): void {
  count(traffic, classOf(status));
  traffic.seconds += seconds;
  const bucket = ANSWER_TIMES.findIndex((bound) => seconds <= bound);
  const at = bucket < 0 ? ANSWER_TIMES.length : bucket;
  traffic.times[at] = (traffic.times[at] ?? 0) + 1;
}

/** Notes that a request got no answer. */
export function countFailure(traffic: HostTraffic): void {
  count(traffic, 'none');
}

/** Requests of all kinds. */
export function requestsIn({ requests }: HostTraffic): number {
  return [...requests.values()].reduce((sum, one) => sum + one, 0);
}

function count({ requests }: HostTraffic, answer: AnswerClass): void {
  requests.set(answer, (requests.get(answer) ?? 0) + 1);
}

function classOf(status: number): AnswerClass {
  if (status < 200) return '1xx';
  if (status < 300) return '2xx';
  if (status < 400) return '3xx';
  return status < 500 ? '4xx' : '5xx';
}

/**
 * A network whose speed and distance are known: a namespace with a token bucket (tc tbf) towards it, and proxies
 * at its near end that hold back what goes either way for half a round trip, and a whole one for a connection's
 * beginning. Who is to be measured is started at the far end. Needs root, iproute2 and util-linux.
 */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { promisify } from 'node:util';

export interface Network extends AsyncDisposable {
  /** What to start a program at the far end with: it goes before the program and its arguments. */
  readonly enter: readonly [string, ...string[]];
  /** A way from the far end to a server of this machine's loopback interface. */
  link(port: number, roundTripMs: number): Promise<Link>;
}

export interface Link extends AsyncDisposable {
  /** `ADDRESS:PORT`, as the far end calls the server. */
  readonly host: string;
}

/** Most bytes of a connection that are on their way, beyond which the sender waits: two round trips' worth, or this. */
const LEAST_IN_FLIGHT = 256 << 10;
const run = promisify(execFile);
let networks = 0;

/** @param mbitPerSecond towards the far end; the other way is free */
export async function openNetwork(mbitPerSecond: number): Promise<Network> {
  networks += 1;
  const name = `sb${process.pid}n${networks}`;
  const { near, far } = addresses(process.pid * 7 + networks);
  const namespace = `/run/netns/${name}`;
  const enter: [string, ...string[]] = ['nsenter', `--net=${namespace}`];
  const servers = new Set<Server>();
  const close = async (): Promise<void> => {
    for (const server of servers) server.close();
    for (const kind of ['link', 'netns'])
      await run('ip', [kind, 'del', name]).catch(() => undefined); // it was not made
  };
  try {
    await execute([
      `ip netns add ${name}`,
      `ip link add ${name} type veth peer name far netns ${name}`,
      `ip addr add ${near}/30 dev ${name}`,
      `ip link set ${name} up`,
      `ip -n ${name} addr add ${far}/30 dev far`,
      `ip -n ${name} link set far up`,
      `ip -n ${name} link set lo up`,
      `tc qdisc add dev ${name} root tbf rate ${mbitPerSecond}mbit burst 128kb latency 50ms`,
    ]);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    enter,
    async link(port, roundTripMs) {
      const inFlight = Math.max(LEAST_IN_FLIGHT, (mbitPerSecond / 8) * 1000 * roundTripMs * 2);
      const server = await listen(near, { port, roundTripMs, inFlight });
      servers.add(server);
      return {
        host: `${near}:${(server.address() as AddressInfo).port}`,
        [Symbol.asyncDispose]: () => {
          server.close();
          return Promise.resolve();
        },
      };
    },
    [Symbol.asyncDispose]: close,
  };
}

/** Two of the addresses that RFC 2544 sets aside for benchmarks, of a network of four. */
function addresses(seed: number): { near: string; far: string } {
  const [third, fourth] = [(seed >> 6) & 255, (seed & 63) * 4];
  const address = (host: number) => `198.18.${third}.${fourth + host}`;
  return { near: address(1), far: address(2) };
}

async function execute(commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    const [program = '', ...args] = command.split(' ');
    await run(program, args);
  }
}

interface Way {
  /** Of the server on the loopback interface. */
  port: number;
  roundTripMs: number;
  /** Most bytes that are held back at once. */
  inFlight: number;
}

async function listen(address: string, way: Way): Promise<Server> {
  // Each way ends by itself, when what is held back of it has been handed on.
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port: way.port, host: '127.0.0.1', allowHalfOpen: true });
    delay(near, far, way, way.roundTripMs);
    delay(far, near, way, 0);
  });
  server.listen(0, address);
  await once(server, 'listening');
  return server;
}

/** Hands on what `from` sends, each piece half a round trip after it came, the first ones `begin` ms later still. */
function delay(from: Socket, to: Socket, { roundTripMs, inFlight }: Way, begin: number): void {
  const opened = performance.now() + begin;
  const time = roundTripMs / 2;
  let held = 0;
  const later = (action: () => void): unknown =>
    setTimeout(action, Math.max(time, opened + time - performance.now()));
  from.on('data', (chunk) => {
    held += chunk.length;
    if (held > inFlight) from.pause();
    later(() => {
      to.write(chunk, () => {
        held -= chunk.length;
        if (held <= inFlight) from.resume();
      });
    });
  });
  from.on('end', () => later(() => to.end()));
  from.on('error', () => undefined); // 'close' follows
  from.on('close', () => {
    if (!from.readableEnded) later(() => to.destroy());
  });
}

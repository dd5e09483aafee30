import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { defaultTimeouts } from '#src/remote/policy.js';
import { type Exchange, type HttpClient, openHttpClient } from '#src/remote/http-exchange.js';
import { noticingAbsence } from '#src/remote/reachability.js';
import { dropPacketsTo, droppingMissing } from '../support/dropped-packets.js';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';
import { collect, failureOf, signal } from './helpers.js';

const limits = { quiet: 150, connect: 1500, refused: 0, pause: 200 };
const missing = await droppingMissing();
const undo: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

function open(now?: () => number): Exchange {
  const client: HttpClient = openHttpClient(defaultTimeouts);
  undo.push(() => client.close());
  return noticingAbsence(client.exchange, limits, now);
}

async function serve(...script: Parameters<typeof startScriptedServer>): Promise<ScriptedServer> {
  const server = await startScriptedServer(...script);
  undo.push(() => server.close());
  return server;
}

const get = (exchange: Exchange, origin: string) =>
  exchange({ method: 'GET', url: new URL('/', origin), signal: signal() });

const gone = { code: 'unavailable', permanent: true, unreachable: true };

describe('noticingAbsence', () => {
  test('lets a host take its time that takes connections', async () => {
    const server = await serve((_, answer) => {
      setTimeout(() => answer.write('a'), 4 * limits.quiet);
      setTimeout(() => answer.end('b'), 8 * limits.quiet);
    });
    const response = await get(open(), server.origin);
    expect((await collect(response.body)).toString()).toBe('ab');
  });

  test('gives up a host that refuses connections, and asks it anew a moment later', async () => {
    // An address of its own, lest another test take the port while it is free.
    const host = '127.0.0.2';
    const listener = createServer().listen(0, host);
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    await new Promise((resolve) => listener.close(resolve));
    let time = 0;
    const exchange = open(() => time);
    const origin = `http://${host}:${port}`;
    const first = await failureOf(get(exchange, origin));
    expect(first).toMatchObject(gone);
    expect(first.message).toContain(`${host}:${port}`);
    expect(await failureOf(get(exchange, origin))).toBe(first);
    const back = createServer((socket) =>
      socket.end('HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n'),
    ).listen(port, host);
    await once(back, 'listening');
    undo.push(() => back.close());
    expect(await failureOf(get(exchange, origin))).toBe(first);
    time += limits.pause;
    const response = await get(exchange, origin);
    response.discard();
    expect(response.status).toBe(204);
  });

  describe.skipIf(missing !== undefined)(
    `of a host whose packets are lost ${missing ?? ''}`,
    () => {
      const cut = async (server: ScriptedServer): Promise<void> => {
        const dropping = await dropPacketsTo(server.host);
        undo.push(() => dropping[Symbol.asyncDispose]());
      };

      test('ends a first request', async () => {
        const server = await serve((_, answer) => answer.end());
        await cut(server);
        const error = await failureOf(get(open(), server.origin));
        expect(error).toMatchObject(gone);
        expect(error.message).toContain(server.host);
      });

      test('ends a request on a connection that stands', async () => {
        const server = await serve((_, answer) => answer.end('x'));
        const exchange = open();
        await collect((await get(exchange, server.origin)).body);
        await cut(server);
        expect(await failureOf(get(exchange, server.origin))).toMatchObject(gone);
      });

      test('ends the body that has begun', async () => {
        const server = await serve((_, answer) => {
          answer.write('half');
        });
        const { body } = await get(open(), server.origin);
        await cut(server);
        expect(await failureOf(collect(body))).toMatchObject(gone);
      });
    },
  );
});

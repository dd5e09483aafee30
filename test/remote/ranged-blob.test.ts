import { getEventListeners } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import type { Registry } from '#src/remote/registry.js';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';
import { collect, containing, impatient, openRegistry, randomBlob, signal } from './helpers.js';

const SIZE = 3 * 1024 * 1024;
const { bytes, descriptor } = randomBlob(SIZE);

interface Served {
  source: BlobSource;
  registry: Registry;
  server: ScriptedServer;
}

/** Runs `use` on the blob as `script` serves it; `script` sees how many requests came before. */
async function serve(
  script: (request: IncomingMessage, response: ServerResponse, earlier: number) => void,
  use: (served: Served) => Promise<void>,
): Promise<void> {
  let count = 0;
  const listener: RequestListener = (request, response) => script(request, response, count++);
  const server = await startScriptedServer(listener);
  const registry = openRegistry(server.host, impatient);
  try {
    await use({ source: registry.blobSource(descriptor), registry, server });
  } finally {
    await registry.close();
    await server.close();
  }
}

function requested(request: IncomingMessage): { first: number; last: number } | undefined {
  const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  return match === null ? undefined : { first: Number(match[1]), last: Number(match[2]) };
}

/** What a faultless server does. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const range = requested(request);
  if (range === undefined) {
    response.writeHead(200, { 'content-length': SIZE }).end(bytes);
    return;
  }
  const { first, last } = range;
  const headers = {
    'content-range': `bytes ${first}-${last}/${SIZE}`,
    'content-length': last - first + 1,
  };
  response.writeHead(206, headers).end(bytes.subarray(first, last + 1));
}

/** Promises `length` bytes, sends `sent` of them, then cuts the connection or is silent. */
function breakOff(
  request: IncomingMessage,
  response: ServerResponse,
  sent: number,
  how: 'cut' | 'stall',
): void {
  const { first, last } = requested(request) ?? { first: 0, last: SIZE - 1 };
  response.writeHead(requested(request) === undefined ? 200 : 206, {
    'content-range': `bytes ${first}-${last}/${SIZE}`,
    'content-length': last - first + 1,
  });
  response.write(bytes.subarray(first, first + sent), () => {
    if (how === 'cut') setTimeout(() => response.destroy(), 5);
  });
}

const partial = (headers: Record<string, string | number>, body: Uint8Array): RequestListener => {
  return (_, response) => response.writeHead(206, headers).end(body);
};

describe('read', () => {
  test('of a range that the server gives', async () => {
    await serve(answer, async ({ source, server }) => {
      const part = await source.read(2_000_000, 1000, signal());
      expect(part.equals(bytes.subarray(2_000_000, 2_001_000))).toBe(true);
      expect(server.requests[0]?.headers).toMatchObject({
        range: 'bytes=2000000-2000999',
        'accept-encoding': 'identity',
      });
    });
  });

  test('near the start takes its part of a whole body; elsewhere it is unsupported', async () => {
    const whole: RequestListener = (_, response) => {
      response.writeHead(200, { 'content-length': SIZE }).end(bytes);
    };
    await serve(whole, async ({ source, server }) => {
      const part = await source.read(100_000, 200_000, signal());
      expect(part.equals(bytes.subarray(100_000, 300_000))).toBe(true);
      await expect(source.read(SIZE - 10, 10, signal())).rejects.toMatchObject({
        code: 'unsupported',
        message: containing('ignores byte ranges, expected status 206'),
      });
      expect(server.requests).toHaveLength(2);
    });
  });

  test.each([
    ['another range', { 'content-range': `bytes 11-20/${SIZE}` }],
    ['a shorter range', { 'content-range': `bytes 10-18/${SIZE}` }],
    ['another size', { 'content-range': 'bytes 10-19/20' }],
    ['no range', {}],
  ])('of an answer with %s is corrupt, and not repeated', async (_, headers) => {
    await serve(partial(headers, bytes.subarray(10, 20)), async ({ source, server }) => {
      await expect(source.read(10, 10, signal())).rejects.toMatchObject({ code: 'corrupt' });
      expect(server.requests).toHaveLength(1);
    });
  });

  test.each([
    ['several ranges', { 'content-type': 'multipart/byteranges; boundary=x' }],
    ['an encoding', { 'content-range': `bytes 10-19/${SIZE}`, 'content-encoding': 'gzip' }],
  ])('of an answer with %s is unsupported: the blob is to be streamed', async (_, headers) => {
    await serve(partial(headers, bytes.subarray(10, 20)), async ({ source, server }) => {
      await expect(source.read(10, 10, signal())).rejects.toMatchObject({ code: 'unsupported' });
      expect(server.requests).toHaveLength(1);
    });
  });

  test.each([
    ['short', 9],
    ['long', 11],
  ])('of a body that is too %s is corrupt', async (_, length) => {
    const headers = { 'content-range': `bytes 10-19/${SIZE}` };
    await serve(partial(headers, bytes.subarray(10, 10 + length)), async ({ source }) => {
      await expect(source.read(10, 10, signal())).rejects.toMatchObject({ code: 'corrupt' });
    });
  });

  test('of a range beyond the server’s blob is corrupt', async () => {
    const refuse: RequestListener = (_, response) => {
      response.writeHead(416, { 'content-range': 'bytes */5' }).end();
    };
    await serve(refuse, async ({ source }) => {
      await expect(source.read(10, 10, signal())).rejects.toMatchObject({ code: 'corrupt' });
    });
  });

  test.concurrent.each(['cut', 'stall'] as const)(
    'of a body that is %s, the rest is asked for',
    async (how) => {
      const asked: (number | undefined)[] = [];
      await serve(
        (request, response, earlier) => {
          asked.push(requested(request)?.first);
          if (earlier < 2) breakOff(request, response, 40, how);
          else answer(request, response);
        },
        async ({ source }) => {
          const part = await source.read(10, 100, signal());
          expect(part.equals(bytes.subarray(10, 110))).toBe(true);
          expect(asked).toEqual([10, 50, 90]);
        },
      );
    },
  );

  test.concurrent.each([
    ['cut', 'unavailable'],
    ['stall', 'timeout'],
  ] as const)('a body that is %s each time is %s', async (how, code) => {
    await serve(
      (request, response) => breakOff(request, response, 10, how),
      async ({ source, server }) => {
        await expect(source.read(10, 100, signal())).rejects.toMatchObject({
          code,
          message: containing(`"${server.host}"`),
        });
        expect(server.requests).toHaveLength(3);
      },
    );
  });

  test.concurrent(
    'a body that drips is given up as one that stands still, and asked for again',
    async () => {
      await serve(
        (request, response, earlier) => {
          if (earlier > 0) return answer(request, response);
          breakOff(request, response, 1, 'stall');
          let at = 11;
          const drip = setInterval(() => response.write(bytes.subarray(at, ++at)), 20);
          return response.once('close', () => clearInterval(drip));
        },
        async ({ source, server }) => {
          const part = await source.read(10, 100_000, signal());
          expect(part.equals(bytes.subarray(10, 100_010))).toBe(true);
          expect(server.requests).toHaveLength(2);
        },
      );
    },
  );

  test.concurrent('a server that never answers is a timeout', async () => {
    await serve(
      () => {},
      async ({ source }) => {
        await expect(source.read(0, 1, signal())).rejects.toMatchObject({
          code: 'timeout',
          message: containing('no answer for 1 s'),
        });
      },
    );
  });

  test.each([503, 500, 429, 408])('status %d is asked again', async (status) => {
    await serve(
      (request, response, earlier) => {
        if (earlier === 0) response.writeHead(status, { 'retry-after': '0' }).end('busy');
        else answer(request, response);
      },
      async ({ source, server }) => {
        expect(await source.read(0, 10, signal())).toHaveLength(10);
        expect(server.requests).toHaveLength(2);
      },
    );
  });

  test('status 503 each time is unavailable, naming the host', async () => {
    await serve(
      (_, response) => response.writeHead(503).end(),
      async ({ source, server }) => {
        await expect(source.read(0, 10, signal())).rejects.toMatchObject({
          code: 'unavailable',
          message: containing(`"${server.host}" answers 503`),
        });
        expect(server.requests).toHaveLength(3);
      },
    );
  });

  test('redirects without end are unavailable', async () => {
    await serve(
      (_, response) => response.writeHead(302, { location: '/again?token=hidden' }).end(),
      async ({ source, server }) => {
        const failed = source.read(0, 10, signal());
        await expect(failed).rejects.toMatchObject({ code: 'unavailable' });
        await expect(failed).rejects.not.toThrow('hidden');
        expect(server.requests.length).toBeLessThan(10);
      },
    );
  });

  test('a cancelled read ends at once and leaves no listener on the signal', async () => {
    const controller = new AbortController();
    await serve(
      (request, response, earlier) => {
        if (earlier < 20) answer(request, response);
      },
      async ({ source }) => {
        for (let n = 0; n < 20; n += 1) await source.read(n, 1, controller.signal);
        expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
        setTimeout(() => controller.abort(), 5);
        await expect(source.read(0, 1, controller.signal)).rejects.toMatchObject({
          code: 'cancelled',
        });
        expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
      },
    );
  });

  test('closing the registry ends what runs', async () => {
    await serve(
      () => {},
      async ({ source, registry }) => {
        const running = source.read(0, 1, signal());
        const ended = expect(running).rejects.toMatchObject({ code: 'cancelled' });
        await sleep(20);
        await registry.close();
        await ended;
        await expect(source.read(0, 1, signal())).rejects.toMatchObject({ code: 'cancelled' });
      },
    );
  });
});

describe('stream', () => {
  test.concurrent.each(['cut', 'stall'] as const)('goes on where it was %s', async (how) => {
    await serve(
      (request, response, earlier) => {
        if (earlier < 4) breakOff(request, response, 500_000, how);
        else answer(request, response);
      },
      async ({ source, server }) => {
        expect((await collect(source.stream(signal()))).equals(bytes)).toBe(true);
        const ranges = server.requests.map(({ headers }) => headers.range);
        expect(ranges[0]).toBeUndefined();
        expect(ranges[4]).toBe(`bytes=2000000-${SIZE - 1}`);
      },
    );
  });

  test('goes on also where the server only ever sends the whole', async () => {
    await serve(
      (_, response, earlier) => {
        response.writeHead(200, { 'content-length': SIZE });
        if (earlier > 0) response.end(bytes);
        else response.write(bytes.subarray(0, 1_000_000), () => response.destroy());
      },
      async ({ source }) => {
        expect((await collect(source.stream(signal()))).equals(bytes)).toBe(true);
      },
    );
  });

  test.each([
    ['no byte comes', 0],
    ['hardly a byte comes', 10],
  ])('gives up where %s any more', async (_, sent) => {
    await serve(
      (request, response) => breakOff(request, response, sent, 'cut'),
      async ({ source, server }) => {
        await expect(collect(source.stream(signal()))).rejects.toMatchObject({
          code: 'unavailable',
        });
        expect(server.requests).toHaveLength(3);
      },
    );
  });

  test.each([
    ['shorter', bytes.subarray(1)],
    ['longer', Buffer.concat([bytes, Buffer.from('x')])],
  ])('of a %s blob is corrupt, with and without a length', async (_, body) => {
    for (const headers of [{ 'content-length': body.byteLength }, {}]) {
      await serve(
        (_request, response) => response.writeHead(200, headers).end(body),
        async ({ source }) => {
          await expect(collect(source.stream(signal()))).rejects.toMatchObject({
            code: 'corrupt',
          });
        },
      );
    }
  });

  test('a slow consumer is not taken for a silent server', async () => {
    await serve(answer, async ({ source }) => {
      const hung: Uint8Array[] = [];
      for await (const chunk of source.stream(signal())) {
        if (hung.length === 0) await sleep(250);
        hung.push(chunk);
      }
      expect(Buffer.concat(hung).equals(bytes)).toBe(true);
    });
  });

  test('a consumer that stops frees the connection', async () => {
    const controller = new AbortController();
    let closed = false;
    await serve(
      (request, response) => {
        response.once('close', () => (closed = true));
        breakOff(request, response, 1000, 'stall');
      },
      async ({ source }) => {
        for await (const chunk of source.stream(controller.signal)) {
          expect(chunk.byteLength).toBeGreaterThan(0);
          break;
        }
        await expect.poll(() => closed).toBe(true);
        expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
      },
    );
  });
});

test('fetchBlob finds out other bytes of the same length', async () => {
  const other = Buffer.from(bytes);
  other[SIZE - 1] = (other[SIZE - 1] ?? 0) ^ 1;
  await serve(
    (_, response) => response.writeHead(200, { 'content-length': SIZE }).end(other),
    async ({ registry }) => {
      await expect(registry.fetchBlob(descriptor, signal())).rejects.toMatchObject({
        code: 'corrupt',
      });
      const huge = { ...descriptor, size: 2 ** 40 };
      await expect(registry.fetchBlob(huge, signal())).rejects.toMatchObject({ code: 'invalid' });
    },
  );
});

describe('fetchManifest', () => {
  const manifest = (headers: Record<string, string>, body = '{}') => {
    const respond: RequestListener = (_, response) => response.writeHead(200, headers).end(body);
    return respond;
  };
  const ociManifest = 'application/vnd.oci.image.manifest.v1+json';

  test.each([
    ['a page of HTML', manifest({ 'content-type': 'text/html' }, '<html>'), 'unsupported'],
    [
      'schema 1',
      manifest({ 'content-type': 'application/vnd.docker.distribution.manifest.v1+prettyjws' }),
      'unsupported',
    ],
    [
      'other bytes than the registry says',
      manifest({
        'content-type': ociManifest,
        'docker-content-digest': `sha256:${'0'.repeat(64)}`,
      }),
      'corrupt',
    ],
    ['something endless', manifest({ 'content-type': ociManifest }, 'x'.repeat(5e6)), 'invalid'],
  ])('refuses %s', async (_, script, code) => {
    await serve(script, async ({ registry }) => {
      await expect(registry.fetchManifest({ tag: 'x' }, signal())).rejects.toMatchObject({ code });
    });
  });

  test('refuses other bytes than asked for by digest', async () => {
    await serve(manifest({ 'content-type': ociManifest }), async ({ registry }) => {
      const target = { digest: descriptor.digest };
      await expect(registry.fetchManifest(target, signal())).rejects.toMatchObject({
        code: 'corrupt',
      });
    });
  });
});

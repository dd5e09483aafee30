/** Uploads in chunks, cut and gone on with, and mounts from other repositories, against docker-registry. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseReference } from '#src/remote/reference.js';
import { Registry } from '#src/remote/registry.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { startRegistryProxy } from '../support/registry-proxy.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { containing, failureOf, openRegistry, patient, randomBlob, signal } from './helpers.js';

const CHUNK = 16 * 1024 * 1024;
let server: DockerRegistry;

beforeAll(async () => {
  server = await startDockerRegistry();
});
afterAll(() => server?.close());

test('a blob of several chunks goes on after one that failed, without sending the others again', async () => {
  await using proxy = await startRegistryProxy(server.host);
  const registry = openRegistry(proxy.host);
  const blob = randomBlob(2 * CHUNK + 1000);
  let patches = 0;
  const sent: [number, number][] = [];
  proxy.before = async (request) => {
    if (request.startsWith('PATCH') && (patches += 1) === 2) return 503;
    return undefined;
  };
  try {
    const body = (start: number, end: number): AsyncIterable<Uint8Array> => {
      sent.push([start, end]);
      return (async function* () {
        yield blob.bytes.subarray(start, end);
      })();
    };
    await registry.pushBlob(blob.descriptor, body, signal());
    expect(sent).toEqual([
      [0, CHUNK],
      [CHUNK, 2 * CHUNK],
      [CHUNK, 2 * CHUNK],
      [2 * CHUNK, 2 * CHUNK + 1000],
    ]);
    expect((await registry.fetchBlob(blob.descriptor, signal())).equals(blob.bytes)).toBe(true);
    // Whatever the registry answered, the last word of an upload is that it has the blob.
    await registry.pushBlob(blob.descriptor, body, signal());
    expect(sent).toHaveLength(4);
  } finally {
    await registry.close();
  }
}, 60_000);

test.each([
  ['more than the blob', CHUNK + 5000, ['POST', 'PUT']],
  ['more than usual', CHUNK + 1000, ['POST', 'PATCH', 'PATCH', 'PUT']],
  ['less than usual', 1000, ['POST', 'PATCH', 'PATCH', 'PUT']],
])('chunks are as long as the registry wants them: %s', async (_, least, methods) => {
  const blob = randomBlob(CHUNK + 2000);
  const received: Buffer[] = [];
  const sizes: number[] = [];
  const registry = await startScriptedServer((request, response) => {
    const { method } = request;
    const part: Buffer[] = [];
    request.on('data', (bytes: Buffer) => part.push(bytes));
    request.once('end', () => {
      received.push(...part);
      if (method === 'HEAD') return response.writeHead(404).end();
      if (method === 'PATCH') sizes.push(Buffer.concat(part).length);
      const size = Buffer.concat(received).length;
      return response
        .writeHead(method === 'PUT' ? 201 : 202, {
          location: '/v2/upload?_state=x',
          'oci-chunk-min-length': least,
          range: `0-${Math.max(0, size - 1)}`,
        })
        .end();
    });
  });
  const client = openRegistry(registry.host);
  try {
    await client.pushBlob(blob.descriptor, blob.bytes, signal());
    expect(Buffer.concat(received).equals(blob.bytes)).toBe(true);
    expect(registry.requests.slice(1).map(({ method }) => method)).toEqual(methods);
    expect(sizes.slice(0, 1).every((size) => size >= least)).toBe(true);
  } finally {
    await client.close();
    await registry.close();
  }
});

test('where the registry has more or less of an upload than it was told, it is asked', async () => {
  await using proxy = await startRegistryProxy(server.host);
  const registry = openRegistry(proxy.host);
  const blob = randomBlob(2 * CHUNK + 1000);
  let patches = 0;
  proxy.before = async (request) => {
    if (request.startsWith('PATCH') && (patches += 1) === 2) return 416;
    return undefined;
  };
  try {
    await registry.pushBlob(blob.descriptor, blob.bytes, signal());
    expect(patches).toBe(4);
    expect((await registry.fetchBlob(blob.descriptor, signal())).equals(blob.bytes)).toBe(true);
  } finally {
    await registry.close();
  }
}, 60_000);

test.each([
  ['nothing', '0-0'],
  ['more than the blob', `0-${3 * CHUNK}`],
])(
  'a registry that takes a chunk and then has %s is asked a few times',
  async (_, range) => {
    const blob = randomBlob(CHUNK + 1000);
    const server = await startScriptedServer((request, response) => {
      request.resume().once('end', () => {
        const { method } = request;
        const status = method === 'HEAD' ? 404 : method === 'GET' ? 204 : 202;
        response.writeHead(status, { location: '/v2/upload', range }).end();
      });
    });
    const registry = openRegistry(server.host);
    try {
      const stop = AbortSignal.timeout(8000);
      const error = await failureOf(registry.pushBlob(blob.descriptor, blob.bytes, stop));
      expect(error).toMatchObject({ code: 'unavailable', message: containing('another chunk') });
    } finally {
      await registry.close();
      await server.close();
    }
  },
  20_000,
);

test('an upload is gone on with though the registry has no time to say where it stands', async () => {
  await using proxy = await startRegistryProxy(server.host);
  const registry = openRegistry(proxy.host);
  const blob = randomBlob(2 * CHUNK + 1000);
  const methods: string[] = [];
  proxy.before = async (request) => {
    const method = request.split(' ')[0] ?? '';
    methods.push(method);
    const asked = methods.filter((one) => one === method).length;
    if (method === 'PATCH' && asked === 2) return 503;
    return method === 'GET' && asked === 1 ? 429 : undefined;
  };
  try {
    await registry.pushBlob(blob.descriptor, blob.bytes, signal());
    expect(methods.filter((one) => one === 'POST')).toHaveLength(1);
    expect(methods.filter((one) => one === 'PATCH')).toHaveLength(4);
  } finally {
    await registry.close();
  }
}, 60_000);

test('a blob of another repository is mounted, and one that is not there uploaded', async () => {
  await using proxy = await startRegistryProxy(server.host);
  const first = openRegistry(proxy.host);
  const reference = parseReference(`${proxy.host}/team/other`);
  const second = new Registry({ reference, ...patient });
  const [there, absent] = [randomBlob(5000), randomBlob(5000)];
  try {
    await first.pushBlob(there.descriptor, there.bytes, signal());
    proxy.requests.length = 0;
    await second.pushBlob(there.descriptor, there.bytes, signal(), 'team/app');
    expect(proxy.requests.map((line) => line.split(' ')[0])).toEqual(['HEAD', 'POST']);
    await second.pushBlob(absent.descriptor, absent.bytes, signal(), 'team/app');
    for (const { descriptor, bytes } of [there, absent]) {
      expect((await second.fetchBlob(descriptor, signal())).equals(bytes)).toBe(true);
    }
  } finally {
    await first.close();
    await second.close();
  }
});

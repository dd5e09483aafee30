import type { RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import { openHttpBlob } from '#src/remote/http-blob.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { LayoutBuilder } from '../support/oci-layout.js';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { collect, containing, failureOf, impatient, randomBlob, signal } from './helpers.js';

const { bytes } = randomBlob(2 * 1024 * 1024);

async function withServer(
  listener: RequestListener,
  use: (server: ScriptedServer) => Promise<void>,
): Promise<void> {
  const server = await startScriptedServer(listener);
  try {
    await use(server);
  } finally {
    await server.close();
  }
}

test('a URL of a server with ranges', async () => {
  await using folder = await temporaryFolder();
  const layout = await LayoutBuilder.create(folder.path);
  const { digest } = await layout.blob(bytes, 'a/b');
  await using server = await serveLayout({ layout: folder.path }).then((one) => ({
    ...one,
    [Symbol.asyncDispose]: () => one.close(),
  }));
  const url = `http://${server.host}/v2/any/blobs/${digest}`;
  const source = await openHttpBlob(`${url}?signature=hidden#x`, signal());
  expect(source).toMatchObject({ name: url, size: bytes.byteLength, local: false });
  const part = await source.read(1_500_000, 100, signal());
  expect(part.equals(bytes.subarray(1_500_000, 1_500_100))).toBe(true);
  expect((await collect(source.stream(signal()))).equals(bytes)).toBe(true);
  await source.close();
});

test('a URL of a server without ranges streams, and is not read in parts', async () => {
  const whole: RequestListener = (_, response) => {
    response.writeHead(200, { 'content-length': bytes.byteLength }).end(bytes);
  };
  await withServer(whole, async ({ origin }) => {
    const source = await openHttpBlob(`${origin}/layer.tar`, signal());
    expect((await collect(source.stream(signal()))).equals(bytes)).toBe(true);
    await expect(source.read(2_000_000, 10, signal())).rejects.toMatchObject({
      code: 'unsupported',
    });
    await source.close();
  });
});

test('an empty file', async () => {
  const empty: RequestListener = (_, response) => {
    response.writeHead(416, { 'content-range': 'bytes */0' }).end();
  };
  await withServer(empty, async ({ origin }) => {
    const source = await openHttpBlob(`${origin}/empty.tar`, signal());
    expect(source.size).toBe(0);
    expect(await collect(source.stream(signal()))).toHaveLength(0);
    await source.close();
  });
});

test('content that changes while it is open is corrupt', async () => {
  let version = 1;
  const changing: RequestListener = (request, response) => {
    const [first = 0, last = 0] = (request.headers.range?.match(/\d+/g) ?? []).map(Number);
    const range = `bytes ${first}-${last}/${bytes.byteLength}`;
    response.writeHead(206, { 'content-range': range, etag: `"${version}"` });
    response.end(bytes.subarray(first, last + 1));
  };
  await withServer(changing, async ({ origin }) => {
    const source = await openHttpBlob(`${origin}/layer.tar`, signal());
    expect(await source.read(5, 5, signal())).toHaveLength(5);
    version = 2;
    await expect(source.read(5, 5, signal())).rejects.toMatchObject({ code: 'corrupt' });
    await source.close();
  });
});

test.each(['a%zz:sesame', 'a:sesame%', 'a:sesame%ff'])(
  'a login in a URL that is not escaped is told without it: %s',
  async (login) => {
    const error = await failureOf(openHttpBlob(`http://${login}@host.invalid/x`, signal()));
    expect(error).toMatchObject({ code: 'usage', message: containing('"host.invalid"') });
    expect(error.message).not.toContain('sesame');
  },
);

test('user and password of a URL become a header and stay out of names', async () => {
  const greet: RequestListener = (_, response) => {
    response.writeHead(206, { 'content-range': 'bytes 0-0/1' }).end('x');
  };
  await withServer(greet, async ({ host, requests }) => {
    const source = await openHttpBlob(`http://me:p%40ss@${host}/layer.tar`, signal());
    expect(source.name).toBe(`http://${host}/layer.tar`);
    const expected = `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    expect(requests[0]?.headers.authorization).toBe(expected);
    await source.close();
  });
});

test.each([
  ['gone', 404, 'not-found'],
  ['forbidden', 403, 'unauthorized'],
  ['broken', 500, 'unavailable'],
])('a file that is %s', async (_, status, code) => {
  await withServer(
    (_request, response) => response.writeHead(status).end(),
    async ({ origin }) => {
      const opened = openHttpBlob(`${origin}/x.tar?secret=1`, signal(), impatient);
      const error = await failureOf(opened);
      expect(error).toMatchObject({ code });
      expect(error.message).not.toContain('secret');
    },
  );
});

test('a server that does not say the length', async () => {
  const chunked: RequestListener = (_, response) => {
    response.write('x');
    response.end('y');
  };
  await withServer(chunked, async ({ origin }) => {
    await expect(openHttpBlob(`${origin}/x.tar`, signal())).rejects.toMatchObject({
      code: 'unsupported',
    });
  });
});

test.each(['', 'no url', 'ftp://host/x', '/path'])('%j is no such URL', async (url) => {
  await expect(openHttpBlob(url, signal())).rejects.toMatchObject({ code: 'usage' });
});

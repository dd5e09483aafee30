/** Blobs that a registry hands out from a storage service, by URLs that are good for a while. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { untilRight } from '#src/common/until-right.js';
import { createAuthority } from '../support/certificates.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { impatient, openRegistry, randomBlob, signal } from './helpers.js';

const { bytes, descriptor } = randomBlob(10_000);

test.each([403, 400])(
  'a target is asked straight, and found anew after status %d',
  async (status) => {
    let signature = 1;
    const store = await startScriptedServer((request, response) => {
      if (!request.url?.endsWith(`signature=${signature}`)) {
        response.writeHead(status).end('<Error>Request has expired</Error>');
        return;
      }
      sendPart(request, response);
    });
    const front = await startScriptedServer((_, response) =>
      response.writeHead(307, { location: `${store.origin}/b?signature=${signature}` }).end(),
    );
    const registry = openRegistry(front.host, impatient);
    const source = registry.blobSource(descriptor);
    const readPart = async (offset: number): Promise<void> => {
      const part = await source.read(offset, 10, signal());
      expect(part.equals(bytes.subarray(offset, offset + 10))).toBe(true);
    };
    try {
      for (const offset of [0, 100, 200]) await readPart(offset);
      expect(front.requests).toHaveLength(1);
      signature = 2;
      for (const offset of [300, 400]) await readPart(offset);
      expect(front.requests).toHaveLength(2);
      expect(store.requests).toHaveLength(6);
    } finally {
      await registry.close();
      await Promise.all([front.close(), store.close()]);
    }
  },
);

type Trouble = 'a server error' | 'silence' | 'a body that stands still' | 'a short body';

test.each<Trouble>(['a server error', 'silence', 'a body that stands still', 'a short body'])(
  'a target that comes to %s is found anew, at another place by then',
  async (trouble) => {
    let isInTrouble = false;
    const old = await startScriptedServer((request, response) => {
      if (!isInTrouble) return sendPart(request, response);
      if (trouble === 'silence') return undefined;
      if (trouble === 'a server error') return response.writeHead(500).end();
      const { part, headers } = rangeOf(request);
      response.writeHead(206, headers);
      const start = part.subarray(0, 1);
      return trouble === 'a short body' ? response.end(start) : response.write(start);
    });
    const other = await startScriptedServer(sendPart);
    const front = await startScriptedServer((_, response) =>
      response.writeHead(307, { location: `${(isInTrouble ? other : old).origin}/b` }).end(),
    );
    const registry = openRegistry(front.host, impatient);
    const source = registry.blobSource(descriptor);
    const readPart = async (offset: number): Promise<void> => {
      const part = await untilRight(source, (from) => from.read(offset, 10, signal()));
      expect(part.equals(bytes.subarray(offset, offset + 10))).toBe(true);
    };
    try {
      await readPart(0);
      isInTrouble = true;
      await readPart(100);
      await readPart(200);
      expect([old, other, front].map(({ requests }) => requests.length)).toEqual([2, 2, 2]);
    } finally {
      await registry.close();
      await Promise.all([front.close(), old.close(), other.close()]);
    }
  },
);

test('a read that nobody waits for any more leaves the target known', async () => {
  let isSilent = false;
  const store = await startScriptedServer((request, response) => {
    if (!isSilent) sendPart(request, response);
  });
  const front = await startScriptedServer((_, response) =>
    response.writeHead(307, { location: `${store.origin}/b` }).end(),
  );
  const registry = openRegistry(front.host);
  const source = registry.blobSource(descriptor);
  try {
    await source.read(0, 10, signal());
    isSilent = true;
    const stop = new AbortController();
    const given = source.read(100, 10, stop.signal);
    await expect.poll(() => store.requests.length).toBe(2);
    stop.abort();
    await expect(given).rejects.toMatchObject({ code: 'cancelled' });
    isSilent = false;
    await source.read(200, 10, signal());
    expect([store, front].map(({ requests }) => requests.length)).toEqual([3, 1]);
  } finally {
    await registry.close();
    await Promise.all([front.close(), store.close()]);
  }
});

function rangeOf(request: IncomingMessage): { part: Buffer; headers: OutgoingHttpHeaders } {
  const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
  const part = bytes.subarray(Number(first), Number(last) + 1);
  return { part, headers: { 'content-range': `bytes ${first}-${last}/${bytes.length}` } };
}

function sendPart(request: IncomingMessage, response: ServerResponse): void {
  const { part, headers } = rangeOf(request);
  response.writeHead(206, headers).end(part);
}

test('from TLS to none and back, a login stays where it belongs', async () => {
  await using folder = await temporaryFolder();
  const authority = await createAuthority(folder.path);
  const tls = await authority.issue('registry');
  const login = { authorization: `Basic ${Buffer.from('me:sesame').toString('base64')}` };
  const seen: [string, string | undefined][] = [];
  const plain = await startScriptedServer(({ headers }, response) => {
    seen.push(['plain', headers.authorization]);
    response.writeHead(307, { location: `${secure.origin}/again` }).end();
  });
  const secure = await startScriptedServer(
    ({ url, headers }, response) => {
      seen.push(['TLS', headers.authorization]);
      if (url === '/again') response.end(bytes);
      else if (headers.authorization !== login.authorization)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      else response.writeHead(307, { location: `${plain.origin}/b` }).end();
    },
    { cert: await readFile(tls.certificate), key: await readFile(tls.key) },
  );
  const hosts = `[host."${secure.origin}"]\nca = "${authority.certificate}"\n`;
  await mkdir(join(folder.path, '_default'));
  await writeFile(join(folder.path, '_default/hosts.toml'), hosts);
  const credentials = async () => ({ username: 'me', password: 'sesame' });
  const registry = openRegistry('any.invalid', { credentials, hostsDirs: [folder.path] });
  try {
    expect((await registry.fetchBlob(descriptor, signal())).equals(bytes)).toBe(true);
    expect(seen).toEqual([
      ['TLS', undefined],
      ['TLS', login.authorization],
      ['plain', undefined],
      ['TLS', undefined],
    ]);
  } finally {
    await registry.close();
    await Promise.all([plain.close(), secure.close()]);
  }
});

/** Blobs that a registry hands out from a storage service, by URLs that are good for a while. */

import { expect, test } from 'vitest';
import { startScriptedServer } from '../support/scripted-server.js';
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
      const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
      const part = bytes.subarray(Number(first), Number(last) + 1);
      response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${bytes.length}` });
      response.end(part);
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

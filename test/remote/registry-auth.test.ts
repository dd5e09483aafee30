import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import type { CredentialSource } from '#src/remote/credentials.js';
import { registryLogin, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { startTokenServer } from '../support/token-server.js';
import {
  containing,
  failureOf,
  openRegistry,
  pushImage,
  randomBlob,
  repository,
  signal,
} from './helpers.js';

const login: CredentialSource = async () => registryLogin;
const wrong: CredentialSource = async () => ({ ...registryLogin, password: 'very secret' });

describe('docker-registry with basic authorization', () => {
  test('credentials let in; none and wrong ones do not', async () => {
    const server = await startDockerRegistry({ auth: 'basic' });
    const registry = openRegistry(server.host, { credentials: login });
    const stranger = openRegistry(server.host);
    const impostor = openRegistry(server.host, { credentials: wrong });
    try {
      const layer = randomBlob(100_000);
      await pushImage(registry, [layer], 'v1');
      const part = await registry.blobSource(layer.descriptor).read(10, 10, signal());
      expect(part.equals(layer.bytes.subarray(10, 20))).toBe(true);
      for (const refused of [stranger, impostor]) {
        const error = await failureOf(refused.fetchManifest({ tag: 'v1' }, signal()));
        expect(error).toMatchObject({
          code: 'unauthorized',
          hint: containing('login'),
        });
        expect(error.message).toContain('(UNAUTHORIZED: authentication required)');
        expect(error.message).not.toContain('secret');
      }
    } finally {
      await Promise.all([registry, stranger, impostor].map((one) => one.close()));
      await server.close();
    }
  });
});

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe.skipIf(!hasOpenssl)('docker-registry with tokens (needs openssl)', () => {
  test('one token serves many requests; pushing gets one of its own', async () => {
    await using folder = await temporaryFolder();
    const tokens = await startTokenServer({ folder: folder.path, login: registryLogin });
    const server = await startDockerRegistry({ auth: tokens.auth });
    const registry = openRegistry(server.host, { credentials: login });
    const reader = openRegistry(server.host, { credentials: login });
    try {
      const layer = randomBlob(1000);
      await pushImage(registry, [layer], 'v1');
      tokens.requests.length = 0;
      const source = reader.blobSource(layer.descriptor);
      await Promise.all(Array.from({ length: 8 }, (_, n) => source.read(n, 100, signal())));
      await reader.fetchManifest({ tag: 'v1' }, signal());
      expect(tokens.requests).toHaveLength(1);
      const query = new URL(tokens.requests[0]?.path ?? '', 'http://x').searchParams;
      expect(query.get('scope')).toBe(`repository:${repository}:pull`);
      expect(query.get('service')).toBe(tokens.auth.service);
    } finally {
      await registry.close();
      await reader.close();
      await server.close();
      await tokens.close();
    }
  });

  test('tokens are replaced while blobs are read, before they run out or when they are refused', async () => {
    await using folder = await temporaryFolder();
    const options = { folder: folder.path, login: registryLogin, validity: 4 };
    // The second service says that its tokens last longer than they do.
    const services = [
      { lifetime: 1, time: 2500 },
      { lifetime: 300, time: 6000 },
    ];
    for (const { lifetime, time } of services) {
      const tokens = await startTokenServer({ ...options, lifetime });
      const server = await startDockerRegistry({ auth: tokens.auth });
      const registry = openRegistry(server.host, { credentials: login });
      try {
        const layer = randomBlob(1000);
        await pushImage(registry, [layer], 'v1');
        const source = registry.blobSource(layer.descriptor);
        tokens.requests.length = 0;
        const start = performance.now();
        const readOver = async (): Promise<void> => {
          while (performance.now() < start + time) {
            const part = await source.read(7, 100, signal());
            expect(part.equals(layer.bytes.subarray(7, 107))).toBe(true);
          }
        };
        await Promise.all([readOver(), readOver(), readOver()]);
        // Once for all readers, each time.
        const most = (performance.now() - start) / 800 + 2;
        expect(tokens.requests.length).toBeGreaterThan(0);
        expect(tokens.requests.length).toBeLessThan(most);
      } finally {
        await registry.close();
        await server.close();
        await tokens.close();
      }
    }
  }, 30_000);

  test('a blob of a repository that may not be read is uploaded instead of mounted', async () => {
    await using folder = await temporaryFolder();
    const options = { folder: folder.path, login: registryLogin, forbidden: 'team/secret' };
    const tokens = await startTokenServer(options);
    const server = await startDockerRegistry({ auth: tokens.auth });
    const registry = openRegistry(server.host, { credentials: login });
    try {
      const { descriptor, bytes } = randomBlob(1000);
      await registry.pushBlob(descriptor, bytes, signal(), 'team/secret');
      expect((await registry.fetchBlob(descriptor, signal())).equals(bytes)).toBe(true);
    } finally {
      await registry.close();
      await server.close();
      await tokens.close();
    }
  });

  test('a token that ran out is replaced; refused credentials are told', async () => {
    await using folder = await temporaryFolder();
    const options = { folder: folder.path, login: registryLogin, lifetime: 0.001 };
    const tokens = await startTokenServer(options);
    const server = await startDockerRegistry({ auth: tokens.auth });
    const registry = openRegistry(server.host, { credentials: login });
    const impostor = openRegistry(server.host, { credentials: wrong });
    try {
      await pushImage(registry, [], 'v1');
      const before = tokens.requests.length;
      await registry.fetchManifest({ tag: 'v1' }, signal());
      await registry.fetchManifest({ tag: 'v1' }, signal());
      expect(tokens.requests.length).toBe(before + 2);
      await expect(impostor.fetchManifest({ tag: 'v1' }, signal())).rejects.toMatchObject({
        code: 'unauthorized',
        message: containing('Cannot get a token for "repository:team/app:pull"'),
      });
    } finally {
      await registry.close();
      await impostor.close();
      await server.close();
      await tokens.close();
    }
  });
});

describe('what goes where', () => {
  const manifest = JSON.stringify({ mediaType: 'application/vnd.oci.image.index.v1+json' });

  async function withServers(
    challenge: (tokens: ScriptedServer) => string,
    run: (host: string, servers: Record<'registry' | 'tokens', ScriptedServer>) => Promise<void>,
  ): Promise<void> {
    const tokens = await startScriptedServer((_, response) => {
      response.end(JSON.stringify({ access_token: 'granted' }));
    });
    const registry = await startScriptedServer((request, response) => {
      if (request.headers.authorization === 'Bearer granted') response.end(manifest);
      else response.writeHead(401, { 'www-authenticate': challenge(tokens) }).end();
    });
    try {
      await run(registry.host, { registry, tokens });
    } finally {
      await registry.close();
      await tokens.close();
    }
  }

  test('a refresh token goes to the token service in a form, not in the URL', async () => {
    await withServers(
      (tokens) => `Bearer realm="${tokens.origin}/oauth",service="s"`,
      async (host, { tokens, registry: server }) => {
        const credentials: CredentialSource = async () => ({
          username: '',
          password: '',
          identityToken: 'refresh-me',
        });
        const registry = openRegistry(host, { credentials });
        await registry.fetchManifest({ tag: 'x' }, signal());
        expect(tokens.requests).toMatchObject([{ method: 'POST', path: '/oauth' }]);
        expect(server.requests).toHaveLength(2);
        expect(server.requests[0]?.headers.authorization).toBeUndefined();
        await registry.close();
      },
    );
  });

  test('anonymous clients ask for a token without credentials', async () => {
    await withServers(
      (tokens) => `Bearer realm="${tokens.origin}/t",scope="repository:other:pull"`,
      async (host, { tokens }) => {
        const registry = openRegistry(host);
        await registry.fetchManifest({ tag: 'x' }, signal());
        const [request] = tokens.requests;
        expect(request?.path).toBe('/t?scope=repository%3Aother%3Apull');
        expect(request?.headers.authorization).toBeUndefined();
        await registry.close();
      },
    );
  });

  test('a challenge without a token service is unauthorized', async () => {
    await withServers(
      () => 'Bearer realm="nowhere"',
      async (host) => {
        const registry = openRegistry(host, { credentials: login });
        await expect(registry.fetchManifest({ tag: 'x' }, signal())).rejects.toMatchObject({
          code: 'unauthorized',
        });
        await registry.close();
      },
    );
  });

  test('a redirect to another host takes no authorization along', async () => {
    const blob = randomBlob(64);
    const storage = await startScriptedServer((request, response) => {
      const range = 'bytes 8-15/64';
      response.writeHead(206, { 'content-range': range }).end(blob.bytes.subarray(8, 16));
      void request;
    });
    const server = await startScriptedServer((request, response) => {
      if (request.headers.authorization === undefined) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      } else {
        response.writeHead(307, { location: `${storage.origin}/blob?signature=hidden` }).end();
      }
    });
    const registry = openRegistry(server.host, { credentials: login });
    try {
      const part = await registry.blobSource(blob.descriptor).read(8, 8, signal());
      expect(part.equals(blob.bytes.subarray(8, 16))).toBe(true);
      expect(storage.requests).toHaveLength(1);
      expect(storage.requests[0]?.headers).toMatchObject({ range: 'bytes=8-15' });
      expect(storage.requests[0]?.headers.authorization).toBeUndefined();
    } finally {
      await registry.close();
      await server.close();
      await storage.close();
    }
  });

  test('a challenge by the host of a redirect is not answered', async () => {
    const thief = await startScriptedServer((_, response) => {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="tell me"' }).end();
    });
    const server = await startScriptedServer((_, response) => {
      response.writeHead(302, { location: `${thief.origin}/?token=hidden` }).end();
    });
    const registry = openRegistry(server.host, { credentials: login });
    try {
      const error = await failureOf(registry.fetchManifest({ tag: 'x' }, signal()));
      expect(error).toMatchObject({ code: 'unauthorized' });
      expect(error.message).not.toContain('hidden');
      expect(thief.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    } finally {
      await registry.close();
      await server.close();
      await thief.close();
    }
  });
});

/** containerd's hosts files against real registries: mirrors, certificates, logins of each host's own. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CredentialSource } from '#src/remote/credentials.js';
import { mediaTypes } from '#src/remote/descriptor.js';
import type { Registry } from '#src/remote/registry.js';
import { type CertificateAuthority, createAuthority } from '../support/certificates.js';
import {
  type DockerRegistry,
  registryLogin,
  startDockerRegistry,
} from '../../bench/programs/docker-registry.js';
import { startRegistryProxy } from '../support/registry-proxy.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import {
  type Blob,
  emptyConfig,
  failureOf,
  impatient,
  manifestOf,
  openRegistry,
  pushImage,
  randomBlob,
  signal,
} from './helpers.js';

let folder: TemporaryFolder;
let authority: CertificateAuthority;
/** Plain, with the image. */
let upstream: DockerRegistry;
/** TLS by our authority and client certificates, with a login; it has the image too. */
let mirror: DockerRegistry;
let layer: Blob;
let manifest: Blob;

beforeAll(async () => {
  folder = await temporaryFolder();
  authority = await createAuthority(folder.path);
  await authority.issue('client');
  const tls = { ...(await authority.issue('mirror')), clientAuthority: authority.certificate };
  upstream = await startDockerRegistry();
  mirror = await startDockerRegistry({ auth: 'basic', tls });
  layer = randomBlob(500_000);
  await using writer = await client(upstream.host, '');
  manifest = await pushImage(writer.registry, [layer], 'v1');
  await using other = await client(mirror.host, secure(mirror.host));
  await pushImage(other.registry, [layer], 'v1');
}, 60_000);

afterAll(async () => {
  await upstream?.close();
  await mirror?.close();
  await folder?.[Symbol.asyncDispose]();
});

const login: CredentialSource = async (host) => (host === mirror.host ? registryLogin : undefined);

/** Vitest compares large buffers too slowly. */
function expectBytes(got: Buffer, expected: Buffer): void {
  expect(got.equals(expected)).toBe(true);
}

/** A hosts file's table for a host with our certificates. */
function secure(host: string, more = ''): string {
  const client = `[["${join(folder.path, 'client.crt')}", "${join(folder.path, 'client.key')}"]]`;
  return `[host."https://${host}"]\nca = "${authority.certificate}"\nclient = ${client}\n${more}\n`;
}

/** The same for the registry itself. */
function asServer(table: string): string {
  return table.replace(/^\[host\.(".*")\]/, 'server = $1');
}

/** A client of `host` with its own hosts file. */
async function client(
  host: string,
  hosts: string,
): Promise<AsyncDisposable & { registry: Registry }> {
  const own = await temporaryFolder();
  await mkdir(join(own.path, host));
  await writeFile(join(own.path, host, 'hosts.toml'), hosts);
  const registry = openRegistry(host, { credentials: login, hostsDirs: [own.path] });
  return {
    registry,
    async [Symbol.asyncDispose]() {
      await registry.close();
      await own[Symbol.asyncDispose]();
    },
  };
}

describe('a mirror', () => {
  test('with certificates and a login of its own serves everything, told whose it is', async () => {
    await using upstreamProxy = await startRegistryProxy(upstream.host);
    await using reader = await client(upstreamProxy.host, secure(mirror.host));
    const source = reader.registry.blobSource(layer.descriptor);
    const { bytes } = await reader.registry.fetchManifest({ tag: 'v1' }, signal());
    expect(bytes.equals(manifest.bytes)).toBe(true);
    const part = await source.read(1000, 500, signal());
    expect(part.equals(layer.bytes.subarray(1000, 1500))).toBe(true);
    expect(upstreamProxy.requests).toEqual([]);
  });

  test('serves artifacts too, found by the fallback tag, with the registry itself gone', async () => {
    const gone = await startScriptedServer(() => undefined);
    await gone.close();
    const type = 'application/vnd.example.index';
    const subject = manifest.descriptor;
    const content = randomBlob(1000);
    const artifact = manifestOf([content.descriptor], { subject, artifactType: type });
    await using writer = await client(mirror.host, asServer(secure(mirror.host)));
    await writer.registry.pushBlob(content.descriptor, content.bytes, signal());
    await writer.registry.pushReferrer(
      ...([artifact.bytes, artifact.descriptor, subject, type, signal()] as const),
    );
    await using reader = await client(gone.host, secure(mirror.host));
    const { registry } = reader;
    const listed = await registry.referrers(subject.digest, type, signal());
    expect(listed.map(({ digest }) => digest)).toEqual([artifact.descriptor.digest]);
    const { digest } = artifact.descriptor;
    expectBytes((await registry.fetchManifest({ digest }, signal())).bytes, artifact.bytes);
    expectBytes(await registry.fetchBlob(content.descriptor, signal()), content.bytes);
  });

  test('whose certificate is not trusted is passed over, also unless told not to look', async () => {
    const strange = `[host."https://${mirror.host}"]\n`;
    await using wary = await client(upstream.host, strange);
    expect((await wary.registry.fetchManifest({ tag: 'v1' }, signal())).bytes).toEqual(
      manifest.bytes,
    );
    await using alone = await client(mirror.host, `server = "https://${mirror.host}"`);
    const error = await failureOf(alone.registry.fetchManifest({ tag: 'v1' }, signal()));
    expect(error).toMatchObject({ code: 'unavailable' });
    const clients = secure(mirror.host, 'skip_verify = true').replace(/ca = .*\n/, '');
    await using careless = await client('any.invalid', clients);
    expect(
      (await careless.registry.fetchManifest({ tag: 'v1' }, signal())).bytes.equals(manifest.bytes),
    ).toBe(true);
  });

  test.each(['404', '401', '503', 'nonsense', 'a cut body', 'nobody'])(
    'that answers %s is passed over, by reads, manifests, blobs and referrers',
    async (how) => {
      const bad = await startScriptedServer((_, response) => {
        if (how === 'a cut body') {
          response.writeHead(200, { 'content-length': 100 });
          response.write('x');
          setTimeout(() => response.destroy(), 5);
        } else if (how === 'nonsense') {
          response.writeHead(200, { 'content-type': 'text/html' }).end('hello');
        } else response.writeHead(Number(how) || 500).end();
      });
      try {
        if (how === 'nobody') await bad.close();
        await using reader = await client(upstream.host, `[host."${bad.origin}"]\n`);
        const { registry } = reader;
        const target = { digest: manifest.descriptor.digest };
        expectBytes((await registry.fetchManifest(target, signal())).bytes, manifest.bytes);
        expectBytes(await registry.fetchBlob(layer.descriptor, signal()), layer.bytes);
        const part = await registry.blobSource(layer.descriptor).read(7, 70, signal());
        expectBytes(part, layer.bytes.subarray(7, 77));
        expect(await registry.referrers(target.digest, 'a/b', signal())).toEqual([]);
        expect(await registry.hasBlob(layer.descriptor, signal())).toBe(true);
      } finally {
        if (how !== 'nobody') await bad.close();
      }
    },
  );

  test.each(['says nothing', 'stands still', 'drips'])(
    'that %s is waited for once, and then asked last',
    async (how) => {
      const mute = await startScriptedServer((_, response) => {
        if (how === 'says nothing') return;
        response.writeHead(206, { 'content-range': `bytes 7-76/${layer.bytes.length}` });
        const bytes = [...layer.bytes.subarray(7, 77)];
        const drip = (): void => void response.write(Buffer.of(bytes.shift() ?? 0));
        drip();
        if (how === 'stands still') return;
        const timer = setInterval(drip, 50);
        response.once('close', () => clearInterval(timer));
      });
      const hosts = await temporaryFolder();
      await mkdir(join(hosts.path, '_default'));
      await writeFile(join(hosts.path, '_default/hosts.toml'), `[host."${mute.origin}"]\n`);
      const registry = openRegistry(upstream.host, { ...impatient, hostsDirs: [hosts.path] });
      try {
        const read = async (): Promise<void> => {
          const part = await registry.blobSource(layer.descriptor).read(7, 70, signal());
          expectBytes(part, layer.bytes.subarray(7, 77));
        };
        await Promise.all([read(), read(), read()]);
        expect(mute.requests).toHaveLength(3);
        for (let time = 0; time < 3; time += 1) await read();
        const target = { digest: manifest.descriptor.digest };
        expectBytes((await registry.fetchManifest(target, signal())).bytes, manifest.bytes);
        expect(mute.requests).toHaveLength(3);
      } finally {
        await registry.close();
        await Promise.all([mute.close(), hosts[Symbol.asyncDispose]()]);
      }
    },
  );

  test('is asked for what it is capable of, with its header and whose it is', async () => {
    const mute = await startScriptedServer((_, response) => response.writeHead(404).end());
    const table = `[host."${mute.origin}/cache/v2"]\noverride_path = true
      capabilities = ["pull"]\n[host."${mute.origin}/cache/v2".header]\nx-key = "sesame"\n`;
    try {
      await using reader = await client(upstream.host, table);
      await reader.registry.fetchManifest({ tag: 'v1' }, signal());
      expect(mute.requests).toEqual([]);
      await reader.registry.fetchBlob(emptyConfig.descriptor, signal());
      const { digest } = emptyConfig.descriptor;
      const ns = encodeURIComponent(upstream.host);
      expect(mute.requests).toHaveLength(1);
      expect(mute.requests[0]?.path).toBe(`/cache/v2/team/app/blobs/${digest}?ns=${ns}`);
      expect(mute.requests[0]?.headers['x-key']).toBe('sesame');
    } finally {
      await mute.close();
    }
  });

  test('that redirects keeps its header and login to itself', async () => {
    const store = await startScriptedServer((_, response) => response.end(layer.bytes));
    const front = await startScriptedServer((request, response) => {
      if (request.headers.authorization === undefined) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      } else response.writeHead(307, { location: `${store.origin}/b?signature=hush` }).end();
    });
    const table = `[host."${front.origin}"]\n[host."${front.origin}".header]\nx-key = "sesame"\n`;
    const hosts = await temporaryFolder();
    await mkdir(join(hosts.path, '_default'));
    await writeFile(join(hosts.path, '_default/hosts.toml'), table);
    const credentials = async (): Promise<typeof registryLogin> => registryLogin;
    const registry = openRegistry('any.invalid', { credentials, hostsDirs: [hosts.path] });
    try {
      expectBytes(await registry.fetchBlob(layer.descriptor, signal()), layer.bytes);
      expect(front.requests.at(-1)?.headers['x-key']).toBe('sesame');
      const [asked] = store.requests;
      expect(asked?.headers['x-key']).toBeUndefined();
      expect(asked?.headers.authorization).toBeUndefined();
    } finally {
      await registry.close();
      await Promise.all([store.close(), front.close(), hosts[Symbol.asyncDispose]()]);
    }
  });

  test('gets nothing that is pushed where it is for reading', async () => {
    await using writer = await client(
      upstream.host,
      secure(mirror.host, 'capabilities = ["pull", "resolve"]'),
    );
    const image = await pushImage(writer.registry, [randomBlob(100)], 'v2');
    await using plain = await client(upstream.host, '');
    expect((await plain.registry.fetchManifest({ tag: 'v2' }, signal())).bytes).toEqual(
      image.bytes,
    );
    const target = { digest: image.descriptor.digest };
    await using alone = await client(mirror.host, asServer(secure(mirror.host)));
    expect(await failureOf(alone.registry.fetchManifest(target, signal()))).toMatchObject({
      code: 'not-found',
    });
  });

  test('that flips a bit is found out, and another host is asked', async () => {
    const flipped = Buffer.from(layer.bytes);
    flipped[99] = (flipped[99] ?? 0) ^ 1;
    const other = manifestOf([]);
    const bad = await startScriptedServer((request, response) => {
      if (request.url?.includes('manifests') === true) {
        response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(other.bytes);
      } else response.end(flipped);
    });
    try {
      await using reader = await client(upstream.host, `[host."${bad.origin}"]\n`);
      const { registry } = reader;
      expectBytes(await registry.fetchBlob(layer.descriptor, signal()), layer.bytes);
      const target = { digest: manifest.descriptor.digest };
      expectBytes((await registry.fetchManifest(target, signal())).bytes, manifest.bytes);
      expect(bad.requests).toHaveLength(2);
    } finally {
      await bad.close();
    }
  });
});

test('nobody to ask is told', async () => {
  await using reader = await client(
    'any.invalid',
    'server = "any.invalid"\ncapabilities = ["push"]',
  );
  expect(await failureOf(reader.registry.fetchManifest({ tag: 'v1' }, signal()))).toMatchObject({
    code: 'unsupported',
  });
});

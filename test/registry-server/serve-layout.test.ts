import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Descriptor, mediaTypes } from '#src/remote/descriptor.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { collect, openRegistry, signal } from '../remote/helpers.js';
import { LayoutBuilder } from '../support/oci-layout.js';
import { must } from '../support/sandbox.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';

const indexType = 'application/vnd.siphon.index.v1';
const layerBytes = randomBytes(1_000_000);

let folder: TemporaryFolder;
let layout: LayoutBuilder;
let server: LayoutServer;
let layer: Descriptor;
let config: Descriptor;
let manifest: Descriptor;

beforeAll(async () => {
  folder = await temporaryFolder();
  layout = await LayoutBuilder.create(folder.path);
  layer = await layout.blob(layerBytes, mediaTypes.ociLayer);
  const rootfs = { type: 'layers', diff_ids: [layer.digest] };
  const image = { architecture: 'amd64', os: 'linux', rootfs };
  config = await layout.blob(JSON.stringify(image), mediaTypes.ociConfig);
  manifest = await layout.manifest({ config, layers: [layer] }, { tag: 'v1' });
  server = await serveLayout({ layout: folder.path });
});
afterAll(async () => {
  await server?.close();
  await folder?.[Symbol.asyncDispose]();
});

async function request(
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<{ response: IncomingMessage; body: Buffer }> {
  const { host } = server;
  // node:http sends a path as it is; fetch would clean it.
  const sent = get({ host: '127.0.0.1', port: Number(host.split(':')[1]), path, headers, method });
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return { response, body: await collect(response) };
}

const json = (body: Buffer): unknown => JSON.parse(body.toString('utf8'));

describe('blobs', () => {
  const path = (): string => `/v2/any/name/blobs/${layer.digest}`;

  test('whole', async () => {
    const { response, body } = await request(path());
    expect(response.statusCode).toBe(200);
    expect(response.headers).toMatchObject({
      'content-length': '1000000',
      'accept-ranges': 'bytes',
      'docker-content-digest': layer.digest,
      'docker-distribution-api-version': 'registry/2.0',
    });
    expect(body.equals(layerBytes)).toBe(true);
  });

  test('in part', async () => {
    const { response, body } = await request(path(), { range: 'bytes=500000-500099' });
    expect(response.statusCode).toBe(206);
    expect(response.headers).toMatchObject({
      'content-length': '100',
      'content-range': 'bytes 500000-500099/1000000',
    });
    expect(body.equals(layerBytes.subarray(500_000, 500_100))).toBe(true);
  });

  test('beyond the end', async () => {
    const { response, body } = await request(path(), { range: 'bytes=1000000-' });
    expect(response.statusCode).toBe(416);
    expect(response.headers['content-range']).toBe('bytes */1000000');
    expect(body).toHaveLength(0);
  });

  test('a range holds only for the content it was meant for', async () => {
    const range = 'bytes=0-9';
    const same = await request(path(), { range, 'if-range': `"${layer.digest}"` });
    expect(same.response.statusCode).toBe(206);
    const other = await request(path(), { range, 'if-range': '"other"' });
    expect(other.response.statusCode).toBe(200);
  });

  test('HEAD tells the length, also with a range', async () => {
    const { response, body } = await request(path(), { range: 'bytes=0-9' }, 'HEAD');
    expect(response.statusCode).toBe(200);
    expect(response.headers['content-length']).toBe('1000000');
    expect(body).toHaveLength(0);
  });

  test('an empty one', async () => {
    const { digest } = await layout.blob('', 'a/b');
    const { response, body } = await request(`/v2/x/blobs/${digest}`);
    expect(response.statusCode).toBe(200);
    expect(response.headers['content-length']).toBe('0');
    expect(body).toHaveLength(0);
  });

  test('are counted', async () => {
    const { requests, bytesSent, blobBytesSent } = server.stats;
    await request(path(), { range: 'bytes=0-99' });
    await request(path(), {}, 'HEAD');
    expect(server.stats.requests - requests).toBe(2);
    expect(server.stats.bytesSent - bytesSent).toBe(100);
    expect(server.stats.blobBytesSent - blobBytesSent).toBe(100);
    await request('/v2/x/manifests/v1');
    expect(server.stats.bytesSent - bytesSent).toBe(100 + manifest.size);
    expect(server.stats.blobBytesSent - blobBytesSent).toBe(100);
  });

  test('a client that hangs up does no harm', async () => {
    const port = Number(server.host.split(':')[1]);
    const sent = get({ host: '127.0.0.1', port, path: path() });
    await once(sent, 'response');
    sent.destroy();
    const { body } = await request(path());
    expect(body).toHaveLength(1_000_000);
  });
});

describe('manifests and tags', () => {
  test('by tag, by digest, and HEAD', async () => {
    for (const reference of ['v1', manifest.digest]) {
      const { response, body } = await request(`/v2/a/b/manifests/${reference}`);
      expect(response.headers).toMatchObject({
        'content-type': mediaTypes.ociManifest,
        'docker-content-digest': manifest.digest,
      });
      expect(body.equals(await layout.read(manifest))).toBe(true);
    }
    const { response, body } = await request('/v2/a/b/manifests/v1', {}, 'HEAD');
    expect(response.headers['content-length']).toBe(String(manifest.size));
    expect(body).toHaveLength(0);
  });

  test('a tag set while serving is seen; the last of equal ones wins', async () => {
    const index = await layout.manifest({ manifests: [manifest] }, { tag: 'later' });
    const again = await layout.manifest({ manifests: [] }, { tag: 'later' });
    expect(index.digest).not.toBe(again.digest);
    const { response } = await request('/v2/a/manifests/later');
    expect(response.headers).toMatchObject({
      'content-type': mediaTypes.ociIndex,
      'docker-content-digest': again.digest,
    });
  });

  test('tags are listed in pages', async () => {
    await layout.manifest({ manifests: [manifest] }, { tag: 'docker.io/not/a:tag' });
    const all = await request('/v2/a/b/tags/list');
    expect(json(all.body)).toEqual({ name: 'a/b', tags: ['later', 'v1'] });
    const first = await request('/v2/a/b/tags/list?n=1');
    expect(json(first.body)).toEqual({ name: 'a/b', tags: ['later'] });
    expect(first.response.headers.link).toBe('</v2/a/b/tags/list?n=1&last=later>; rel="next"');
    const second = await request('/v2/a/b/tags/list?n=1&last=later');
    expect(json(second.body)).toEqual({ name: 'a/b', tags: ['v1'] });
    expect(second.response.headers.link).toBeUndefined();
  });

  test('the base says that this is a registry', async () => {
    expect((await request('/v2/')).response.statusCode).toBe(200);
  });
});

test('referrers are found wherever they lie, by artifact type', async () => {
  const subject = manifest;
  const empty = await layout.blob('{}', mediaTypes.ociEmpty);
  const artifact = { config: empty, layers: [empty], subject };
  const top = await layout.manifest({
    ...artifact,
    artifactType: indexType,
    annotations: { at: 'top' },
  });
  // Reachable through the fallback's index only, as skopeo copies it.
  const nested = await layout.blob(
    JSON.stringify({ schemaVersion: 2, ...artifact, annotations: { at: 'nested' } }),
    mediaTypes.ociManifest,
  );
  await layout.manifest({ manifests: [nested] }, { tag: 'sha256-fallback' });

  const path = `/v2/a/referrers/${manifest.digest}`;
  const all = await request(path);
  expect(all.response.headers['content-type']).toBe(mediaTypes.ociIndex);
  expect(all.response.headers['oci-filters-applied']).toBeUndefined();
  expect(json(all.body)).toEqual({
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [
      { ...top, artifactType: indexType, annotations: { at: 'top' } },
      { ...nested, artifactType: mediaTypes.ociEmpty, annotations: { at: 'nested' } },
    ],
  });
  const filtered = await request(`${path}?artifactType=${encodeURIComponent(indexType)}`);
  expect(filtered.response.headers['oci-filters-applied']).toBe('artifactType');
  expect(json(filtered.body)).toMatchObject({ manifests: [{ digest: top.digest }] });

  const registry = openRegistry(server.host);
  const listed = await registry.referrers(manifest.digest, indexType, signal());
  expect(listed.map(({ digest }) => digest)).toEqual([top.digest]);
  await registry.close();
});

describe('what is refused', () => {
  const unknown = `sha256:${'0'.repeat(64)}`;

  test.each([
    ['/v2/a/manifests/none', 404, 'MANIFEST_UNKNOWN'],
    [`/v2/a/manifests/${unknown}`, 404, 'MANIFEST_UNKNOWN'],
    [`/v2/a/blobs/${unknown}`, 404, 'BLOB_UNKNOWN'],
    ['/v2/a/blobs/sha256:..', 404, 'BLOB_UNKNOWN'],
    ['/v2/a/blobs/../../index.json', 404, 'NOT_FOUND'],
    ['/v2/a/blobs/%2e%2e%2f%2e%2e%2findex.json', 404, 'BLOB_UNKNOWN'],
    ['/v2/a/referrers/latest', 400, 'DIGEST_INVALID'],
    ['/v2/UPPER/manifests/v1', 404, 'NOT_FOUND'],
    ['/', 404, 'NOT_FOUND'],
    ['//[', 404, 'NOT_FOUND'],
  ])('%s', async (path, status, code) => {
    const { response, body } = await request(path);
    expect(response.statusCode).toBe(status);
    expect(json(body)).toMatchObject({ errors: [{ code }] });
  });

  test('a layer asked for as a manifest', async () => {
    const { response } = await request(`/v2/a/manifests/${layer.digest}`);
    expect(response.statusCode).toBe(404);
  });

  test('writing', async () => {
    const { response } = await request('/v2/a/manifests/v1', {}, 'PUT');
    expect(response.statusCode).toBe(405);
    expect(response.headers.allow).toBe('GET, HEAD');
  });

  test('other names than the one served', async () => {
    const named = await serveLayout({ layout: folder.path, repository: 'team/app' });
    const registry = openRegistry(named.host);
    await registry.fetchManifest({ tag: 'v1' }, signal());
    const answer = await fetch(`http://${named.host}/v2/other/manifests/v1`);
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ errors: [{ code: 'NAME_UNKNOWN' }] });
    await registry.close();
    await named.close();
  });

  test('a folder that is no layout, a port that is taken', async () => {
    await using empty = await temporaryFolder();
    await expect(serveLayout({ layout: empty.path })).rejects.toMatchObject({ code: 'not-found' });
    await writeFile(join(empty.path, 'index.json'), '{}');
    await expect(serveLayout({ layout: empty.path })).rejects.toMatchObject({ code: 'invalid' });
    await expect(serveLayout({ layout: folder.path, port: server.port })).rejects.toMatchObject({
      code: 'unavailable',
    });
  });
});

test('a layout that breaks while served is an error of the server, and it goes on', async () => {
  await using broken = await temporaryFolder();
  const builder = await LayoutBuilder.create(broken.path);
  const blob = await builder.blob('content', 'a/b');
  const serving = await serveLayout({ layout: broken.path });
  await rm(join(broken.path, 'index.json'));
  expect((await fetch(`http://${serving.host}/v2/a/manifests/v1`)).status).toBe(500);
  expect((await fetch(`http://${serving.host}/v2/a/blobs/${blob.digest}`)).status).toBe(200);
  await serving.close();
});

test('skopeo copies an image from it', async () => {
  await using target = await temporaryFolder();
  const from = `docker://${server.host}/team/app:v1`;
  await must('skopeo', 'copy', '--src-tls-verify=false', from, `dir:${target.path}`);
  const copied = await readFile(join(target.path, 'manifest.json'));
  expect(copied.equals(await layout.read(manifest))).toBe(true);
});

test('closing ends connections that are kept alive', async () => {
  const short = await serveLayout({ layout: folder.path });
  const registry = openRegistry(short.host);
  await registry.fetchManifest({ tag: 'v1' }, signal());
  await short.close();
  await expect(registry.fetchManifest({ tag: 'v1' }, signal())).rejects.toMatchObject({
    code: 'unavailable',
  });
  await registry.close();
});

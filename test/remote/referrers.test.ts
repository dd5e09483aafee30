import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Digest } from '#src/common/digest.js';
import { type Descriptor, mediaTypes } from '#src/remote/descriptor.js';
import { parseImageIndex } from '#src/remote/manifest.js';
import { fallbackTag, withReferrer } from '#src/remote/referrers.js';
import type { Registry } from '#src/remote/registry.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { startScriptedServer } from '../support/scripted-server.js';
import {
  type Blob,
  emptyConfig,
  impatient,
  manifestOf,
  openRegistry,
  pushImage,
  randomBlob,
  signal,
} from './helpers.js';

const indexType = 'application/vnd.siphon.index.v1';
const otherType = 'application/vnd.example.signature';

function referrerOf(subject: Descriptor, artifactType: string, name: string): Blob {
  return manifestOf([emptyConfig.descriptor], { subject, artifactType, annotations: { name } });
}

async function attach(
  registry: Registry,
  subject: Descriptor,
  artifactType: string,
  name: string,
): Promise<Digest> {
  const { bytes, descriptor } = referrerOf(subject, artifactType, name);
  await registry.pushReferrer(bytes, descriptor, subject, artifactType, signal());
  return descriptor.digest;
}

describe('against docker-registry 2.8, which has no referrers API', () => {
  let server: DockerRegistry;
  let registry: Registry;

  beforeAll(async () => {
    server = await startDockerRegistry();
    registry = openRegistry(server.host);
  });
  afterAll(async () => {
    await registry?.close();
    await server?.close();
  });

  test('nothing refers to an image at first', async () => {
    const { descriptor } = await pushImage(registry, [randomBlob(10)], 'bare');
    expect(await registry.referrers(descriptor.digest, indexType, signal())).toEqual([]);
  });

  test('several referrers of several types are all listed, each once', async () => {
    const { descriptor: subject } = await pushImage(registry, [randomBlob(10)], 'several');
    const first = await attach(registry, subject, indexType, 'first');
    const signature = await attach(registry, subject, otherType, 'signature');
    const second = await attach(registry, subject, indexType, 'second');
    await attach(registry, subject, indexType, 'first');

    const digests = async (type: string) =>
      (await registry.referrers(subject.digest, type, signal())).map(({ digest }) => digest);
    expect(await digests(indexType)).toEqual([first, second]);
    expect(await digests(otherType)).toEqual([signature]);
    expect(await digests('application/none')).toEqual([]);

    const tag = fallbackTag(subject.digest);
    const { bytes } = await registry.fetchManifest({ tag }, signal());
    expect(parseImageIndex(bytes, tag)).toMatchObject({
      mediaType: mediaTypes.ociIndex,
      manifests: [
        { digest: first, artifactType: indexType, mediaType: mediaTypes.ociManifest },
        { digest: signature, artifactType: otherType },
        { digest: second, artifactType: indexType },
      ],
    });
    const fetched = await registry.fetchManifest({ digest: second }, signal());
    expect(fetched.descriptor.mediaType).toBe(mediaTypes.ociManifest);
  });

  test('referrers pushed at once by several clients of a process are all kept', async () => {
    const { descriptor: subject } = await pushImage(registry, [randomBlob(10)], 'at-once');
    const clients = Array.from({ length: 6 }, () => openRegistry(server.host));
    const pushed = await Promise.all(
      clients.map((client, n) => attach(client, subject, indexType, `client ${n}`)),
    );
    const listed = await registry.referrers(subject.digest, indexType, signal());
    expect(listed.map(({ digest }) => digest).sort()).toEqual(pushed.sort());
    await Promise.all(clients.map((client) => client.close()));
  });

  test('a fallback tag that names no index is invalid', async () => {
    const { descriptor } = await pushImage(registry, [randomBlob(10)], 'odd');
    await pushImage(registry, [], fallbackTag(descriptor.digest));
    await expect(registry.referrers(descriptor.digest, indexType, signal())).rejects.toMatchObject({
      code: 'invalid',
    });
  });
});

describe('a registry with the API', () => {
  const subject = randomBlob(3).descriptor;

  test('pages are followed, other types left out', async () => {
    const one = referrerOf(subject, indexType, 'one').descriptor;
    const two = referrerOf(subject, indexType, 'two').descriptor;
    const page = (entries: object[]) => JSON.stringify({ schemaVersion: 2, manifests: entries });
    const server = await startScriptedServer((request, response) => {
      response.setHeader('content-type', mediaTypes.ociIndex);
      if (request.url?.includes('page=2')) {
        response.end(page([{ ...two, artifactType: indexType }]));
        return;
      }
      response.setHeader('link', `<${request.url}&page=2>; rel="next"`);
      response.end(
        page([
          { ...one, artifactType: indexType },
          { ...one, artifactType: otherType },
        ]),
      );
    });
    const registry = openRegistry(server.host);
    const listed = await registry.referrers(subject.digest, indexType, signal());
    expect(listed.map(({ digest }) => digest)).toEqual([one.digest, two.digest]);
    expect(server.requests.map(({ path }) => path)).toContain(
      `/v2/team/app/referrers/${subject.digest}?artifactType=${encodeURIComponent(indexType)}`,
    );
    await registry.close();
    await server.close();
  });

  test('the fallback tag is asked for at the same time, until the API is known to be there', async () => {
    const held: ServerResponse[] = [];
    let isTagAsked = false;
    const server = await startScriptedServer((request, response) => {
      if (request.url?.includes('/manifests/')) isTagAsked = true;
      else held.push(response);
      if (!isTagAsked) return;
      for (const one of held.splice(0)) {
        one.setHeader('content-type', mediaTypes.ociIndex);
        one.end(JSON.stringify({ schemaVersion: 2, manifests: [] }));
      }
    });
    const registry = openRegistry(server.host);
    expect(await registry.referrers(subject.digest, undefined, signal())).toEqual([]);
    expect(await registry.referrers(subject.digest, undefined, signal())).toEqual([]);
    expect(server.requests.map(({ path }) => path).toSorted()).toEqual([
      `/v2/team/app/manifests/${fallbackTag(subject.digest)}`,
      `/v2/team/app/referrers/${subject.digest}`,
      `/v2/team/app/referrers/${subject.digest}`,
    ]);
    await registry.close();
    await server.close();
  });

  test('one that answers OCI-Subject keeps the list itself', async () => {
    const server = await startScriptedServer((_, response) => {
      response.writeHead(201, { 'oci-subject': subject.digest }).end();
    });
    const registry = openRegistry(server.host);
    await attach(registry, subject, indexType, 'one');
    expect(server.requests.map(({ method }) => method)).toEqual(['PUT']);
    await registry.close();
    await server.close();
  });

  test('an outage is not taken for a registry without the API', async () => {
    const server = await startScriptedServer((_, response) => {
      response.writeHead(503).end();
    });
    const registry = openRegistry(server.host, impatient);
    await expect(registry.referrers(subject.digest, indexType, signal())).rejects.toMatchObject({
      code: 'unavailable',
    });
    await registry.close();
    await server.close();
  });
});

test('withReferrer replaces an entry of the same digest and keeps the rest', () => {
  const [one, two] = [randomBlob(1).descriptor, randomBlob(2).descriptor];
  const annotations = { kept: 'yes' };
  const index = withReferrer(
    { schemaVersion: 2, manifests: [one, two], annotations },
    { ...one, artifactType: indexType },
  );
  expect(index).toEqual({
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    annotations,
    manifests: [two, { ...one, artifactType: indexType }],
  });
});

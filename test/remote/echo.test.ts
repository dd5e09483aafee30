/**
 * A server that quotes whatever lets somebody in, in every place that an answer has, to a client with every kind of
 * login. Nothing of it may be in what the client says: errors with all that hangs on them, logs, counters.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { mkdir, writeFile } from 'node:fs/promises';
import { inspect } from 'node:util';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Credentials } from '#src/remote/credentials.js';
import { openHttpBlob } from '#src/remote/http-blob.js';
import { parseReference } from '#src/remote/reference.js';
import { Registry } from '#src/remote/registry.js';
import { trafficByHost } from '#src/remote/traffic.js';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import { impatient, manifestOf, randomBlob } from './helpers.js';

const secrets = {
  password: 'pa55/word+of a login',
  identity: 'refresh-token-of-an-identity',
  registry: 'token-of-a-registry',
  token: 'token-of-the-service',
  header: 'key-of-a-hosts-file',
  signature: 'signature-of-a-store',
  state: 'state-of-an-upload',
};
const logins: Record<string, Credentials> = {
  basic: { username: 'me', password: secrets.password },
  bearer: { username: 'me', password: secrets.password },
  identity: { username: '', password: '', identityToken: secrets.identity },
  registry: { username: '', password: '', registryToken: secrets.registry },
};
const pair = Buffer.from(`me:${secrets.password}`).toString('base64');
const used = new Set<keyof typeof secrets>();
const forms = [...Object.values(secrets), encodeURIComponent(secrets.password), pair];
/** What has been sent so far, in one line as a header can hold it. */
function quoted(): string {
  const shown = (name: keyof typeof secrets, text: string): string[] =>
    used.has(name) ? [text] : [];
  return [
    ...shown('password', `${pair} Basic ${pair} ${encodeURIComponent(secrets.password)}`),
    ...shown('token', `Bearer ${secrets.token} https://me:${secrets.token}@a.example/`),
    ...shown('signature', `/store/b?sig=${secrets.signature}`),
    ...shown('identity', `refresh_token=${secrets.identity}`),
    ...[...used].map((name) => secrets[name]),
  ].join(' ');
}

/** Where an answer can quote. */
const places: Record<string, (response: ServerResponse) => void> = {
  'a JSON error': (response) => refuse(response, 500, { code: quoted(), message: quoted() }),
  'a refusal': (response) => refuse(response, 403, { code: 'DENIED', message: quoted() }),
  'an XML error': (response) => response.writeHead(400).end(`<Error>${quoted()}</Error>`),
  'a content range': (response) => range(response, { 'content-range': `bytes ${quoted()}` }),
  'an encoding': (response) => range(response, { 'content-encoding': quoted() }),
  'a media type': (response) => response.writeHead(200, { 'content-type': quoted() }).end('{}'),
  'a digest': (response) =>
    response
      .writeHead(200, {
        'content-type': 'application/vnd.oci.image.index.v1+json',
        'docker-content-digest': `sha256:${quoted()}`,
      })
      .end('{}'),
  'a location': (response) => response.writeHead(307, { location: `ftp://${quoted()}` }).end(),
  'a location without a host': (response) =>
    response.writeHead(307, { location: `http://me:${secrets.token}@[oops/${quoted()}` }).end(),
  'a challenge': (response) =>
    response
      .writeHead(401, { 'www-authenticate': `Bearer realm="${quoted()}",scope="${quoted()}"` })
      .end(),
  'a scope': (response) =>
    response
      .writeHead(401, {
        'www-authenticate': `Bearer realm="${server.origin}/refuse",scope="repository:${quoted()}"`,
      })
      .end(),
  'a wish to wait': (response) => response.writeHead(503, { 'retry-after': quoted() }).end(),
  'a status line': (response) => response.writeHead(418, quoted().replaceAll(/[^ -~]/g, '')).end(),
  'a link': (response) =>
    response
      .writeHead(200, {
        'content-type': 'application/json',
        link: `</${encodeURI(quoted())}>; rel="next"`,
      })
      .end(JSON.stringify({ manifests: quoted() })),
  'a document': (response) =>
    response
      .writeHead(200, { 'content-type': 'application/vnd.oci.image.index.v1+json' })
      .end(JSON.stringify({ schemaVersion: 2, manifests: [{ annotations: { [quoted()]: 5 } }] })),
  'no HTTP': (response) =>
    response.socket?.end(`HTTP/1.1 200 OK\r\nBroken ${quoted()}\u0001\r\n: ${quoted()}\r\n\r\n`),
};

let server: ScriptedServer;
let folder: TemporaryFolder;
/** What the registry answers a request that is let in; `undefined`: as it should. */
let place: ((response: ServerResponse) => void) | undefined;

beforeAll(async () => {
  folder = await temporaryFolder();
  server = await startScriptedServer((request, response) => void serve(request, response));
  await mkdir(join(folder.path, '_default'));
  await writeFile(
    join(folder.path, '_default/hosts.toml'),
    `server = "${server.origin}"\n[header]\nX-Key = "${secrets.header}"\n`,
  );
});

afterAll(async () => {
  await server?.close();
  await folder?.[Symbol.asyncDispose]();
});

function refuse(response: ServerResponse, status: number, error: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ errors: [error], ...error, error_description: quoted() }));
}

function range(response: ServerResponse, headers: Record<string, string>): void {
  response.writeHead(206, { 'content-range': 'bytes 0-0/1', ...headers }).end('x');
}

function nothingIsIn(said: string): void {
  for (const form of forms) {
    const at = said.indexOf(form);
    if (at >= 0) expect.fail(`it says ${said.slice(Math.max(0, at - 300), at + 100)}`);
  }
}

/** Lets in, redirects blobs to a store of another name, and then quotes. */
async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url = '', method, headers } = request;
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const sent = `${url} ${JSON.stringify(headers)} ${Buffer.concat(chunks).toString('latin1')}`;
  for (const [name, secret] of Object.entries(secrets)) {
    if (sent.includes(secret) || (name === 'password' && sent.includes(pair)))
      used.add(name as keyof typeof secrets); // one of them
  }
  const kind = /^\/v2\/(\w+)\//.exec(url)?.[1];
  if (url.startsWith('/refuse')) return refuse(response, 401, { code: 'X', message: quoted() });
  if (url.startsWith('/token')) {
    response.end(JSON.stringify({ token: secrets.token }));
    return;
  }
  if (kind !== undefined && headers.authorization === undefined) {
    const challenge =
      kind === 'basic' ? 'Basic realm="x"' : `Bearer realm="${server.origin}/token"`;
    response.writeHead(401, { 'www-authenticate': challenge }).end();
  } else if (method === 'GET' && url.includes('/blobs/sha256')) {
    const store = server.origin.replace('127.0.0.1', 'localhost');
    response.writeHead(307, { location: `${store}/store/b?sig=${secrets.signature}` }).end();
  } else if (method === 'HEAD' || (method === 'POST' && url.includes('uploads'))) {
    const location = `/v2/${kind}/uploads/1?_state=${secrets.state}`;
    response.writeHead(method === 'HEAD' ? 404 : 202, { location }).end();
  } else place?.(response);
}

test.each(Object.keys(places))('what is quoted in %s is not said', async (name) => {
  place = places[name];
  let said = '';
  const log = pino({ level: 'trace' }, { write: (line: string) => (said += line) });
  const note = (error: unknown): void => {
    said += inspect(error, { depth: Infinity, showHidden: true });
  };
  for (const [kind, login] of Object.entries(logins)) {
    const registry = new Registry({
      ...impatient,
      reference: parseReference(`registry.test/${kind}/app`),
      credentials: async () => login,
      hostsDirs: [folder.path],
      onFailure: note,
      log,
    });
    const blob = randomBlob(100);
    const { bytes, descriptor } = manifestOf([]);
    const signal = AbortSignal.timeout(20_000);
    const outcomes = await Promise.allSettled([
      registry.fetchManifest({ tag: 'v1' }, signal),
      registry.blobSource(blob.descriptor).read(5, 10, signal),
      registry.fetchBlob(blob.descriptor, signal),
      registry.referrers(blob.descriptor.digest, undefined, signal),
      registry.pushBlob(blob.descriptor, blob.bytes, signal),
      registry.pushManifest({ tag: 'v1' }, bytes, descriptor.mediaType, signal),
    ]);
    await registry.close();
    for (const outcome of outcomes) if (outcome.status === 'rejected') note(outcome.reason);
    expect(outcomes.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(2);
  }
  const url = `${server.origin.replace('//', `//me:${encodeURIComponent(secrets.password)}@`)}/x.tar`;
  await openHttpBlob(
    `${url}?sig=${secrets.signature}`,
    AbortSignal.timeout(20_000),
    impatient,
  ).then(
    (source) => source.read(0, 1, AbortSignal.timeout(20_000)).then(() => source.close(), note),
    note,
  );
  said += [...trafficByHost().keys()].join(' ');
  expect(said).toContain('Cannot');
  nothingIsIn(said);
});

test('a certificate that quotes, and what is no server at all', async () => {
  const odd = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${quoted()}\r\n\r\n`);
  });
  await new Promise<void>((resolve) => void odd.listen(0, '127.0.0.1', resolve));
  const { port } = odd.address() as { port: number };
  const url = `http://127.0.0.1:${port}/x.tar?sig=${secrets.signature}`;
  const error: unknown = await openHttpBlob(url, AbortSignal.timeout(5000), impatient).catch(
    (thrown: unknown) => thrown,
  );
  odd.close();
  const said = inspect(error, { depth: Infinity, showHidden: true });
  nothingIsIn(said);
});

test('every secret was sent', () => {
  expect([...used].toSorted()).toEqual(Object.keys(secrets).toSorted());
});

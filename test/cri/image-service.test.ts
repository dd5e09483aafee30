/** The image service in between, on real sockets, with a server of the test's own in containerd's place. */

import {
  Client,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
  credentials,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import { type ImageService, imageService } from '#src/cri/image-service.js';
import { PodCredentials } from '#src/cri/pod-credentials.js';
import { PullImageRequest } from '#src/generated/runtime/v1/cri.js';
import { anonymous } from '#src/remote/credentials.js';
import { closedGate } from '../support/gate.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';

type Handler = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => void;

let folder: TemporaryFolder;
let behind: Server;
let front: Server;
let service: ImageService;
let pods: PodCredentials;
let client: Client;
/** What containerd does. */
let handler: Handler;

beforeEach(async () => {
  folder = await temporaryFolder();
  pods = new PodCredentials({ log: silentLogger });
  const containerd = join(folder.path, 'containerd');
  service = imageService({ containerd, pods, log: silentLogger });
  behind = new Server();
  front = new Server();
  for (const { definition, implementation } of service.services) {
    front.addService(definition, implementation);
    const handlers = Object.keys(definition).map((name) => [name, answer] as const);
    behind.addService(definition, Object.fromEntries(handlers));
  }
  await listen(behind, containerd);
  await listen(front, join(folder.path, 'siphon'));
  client = new Client(`unix:${join(folder.path, 'siphon')}`, credentials.createInsecure());
});

afterEach(async () => {
  client.close();
  service.close();
  front.forceShutdown();
  behind.forceShutdown();
  await folder[Symbol.asyncDispose]();
});

const answer: Handler = (call, done) => handler(call, done);

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
}

const same = (bytes: Buffer): Buffer => bytes;

function call(method: string, request: Buffer, options: object = {}): Promise<Buffer> {
  const metadata = new Metadata();
  metadata.set('traceparent', 'from the kubelet');
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      `/${method}`,
      same,
      same,
      request,
      metadata,
      options,
      (error, response) => (error === null ? resolve(response ?? Buffer.of()) : reject(error)),
    );
  });
}

/** Field 1000 as text, which no definition here knows. */
const unknown = Buffer.concat([Buffer.of(0xc2, 0x3e, 5), Buffer.from('later')]);

test.each(
  ['v1', 'v1alpha2'].flatMap((version) =>
    ['ListImages', 'ImageStatus', 'PullImage', 'RemoveImage', 'ImageFsInfo'].map(
      (method) => `runtime.${version}.ImageService/${method}`,
    ),
  ),
)('%s is handed on as the bytes that came, and so is its answer', async (method) => {
  const seen: unknown[] = [];
  handler = (running, done) => {
    seen.push(running.request, running.metadata.get('traceparent'));
    done(null, Buffer.concat([unknown, Buffer.from(running.getPath())]));
  };
  const request = Buffer.concat([requestFor('r.example/app', 'me'), unknown]);
  const got = await call(method, request);
  expect(got.toString('latin1')).toBe(`${unknown.toString('latin1')}/${method}`);
  expect(seen).toEqual([request, ['from the kubelet']]);
});

function requestFor(image: string, username: string): Buffer {
  const auth = {
    username,
    password: 'sesame',
    auth: '',
    serverAddress: '',
    identityToken: '',
    registryToken: '',
  };
  return Buffer.from(PullImageRequest.encode({ image: { image }, auth }).finish());
}

const pull = 'runtime.v1.ImageService/PullImage';

test('messages longer than 4 MiB are handed on, as a list of many images is', async () => {
  const long = Buffer.alloc(6 << 20, 'x');
  handler = (_, done) => done(null, long);
  client.close();
  const options = { 'grpc.max_receive_message_length': 16 << 20 };
  const address = `unix:${join(folder.path, 'siphon')}`;
  client = new Client(address, credentials.createInsecure(), options);
  const got = await call('runtime.v1.ImageService/ListImages', Buffer.of());
  expect(got.equals(long)).toBe(true);
});

test('credentials are there while the image is pulled, and after', async () => {
  const find = pods.before(anonymous);
  let meanwhile: unknown;
  handler = (_, done) => {
    const look = async (): Promise<void> => {
      meanwhile = await find('r.example', 'app');
      done(null, Buffer.of());
    };
    void look();
  };
  await call(pull, requestFor('r.example/app', 'me'));
  const expected = { username: 'me', password: 'sesame' };
  expect(meanwhile).toEqual(expected);
  expect(await find('r.example', 'app')).toEqual(expected);
});

test("containerd's refusal is told as it is, and its credentials are forgotten", async () => {
  handler = (_, done) => {
    const metadata = new Metadata();
    metadata.set('detail-bin', Buffer.of(1, 2));
    done({ code: status.NOT_FOUND, details: 'no such image', metadata });
  };
  const error = await call(pull, requestFor('r.example/app', 'me')).then(
    () => expect.fail('it succeeded'),
    (thrown: unknown) => thrown as ServiceError, // as of every call
  );
  expect(error).toMatchObject({ code: status.NOT_FOUND, details: 'no such image' });
  expect(error.metadata.get('detail-bin')).toEqual([Buffer.of(1, 2)]);
  expect(await pods.before(anonymous)('r.example', 'app')).toBeUndefined();
});

test('a request that cannot be read is handed on all the same', async () => {
  handler = ({ request }, done) => done(null, request);
  for (const odd of [Buffer.from('not protobuf'), requestFor('NO image', 'me')]) {
    expect(await call(pull, odd)).toEqual(odd);
  }
});

test('a deadline, and a kubelet that hangs up, end the call behind', async () => {
  const ended = closedGate();
  handler = (running) => running.on('cancelled', ended.open);
  // As long as the call may take to arrive behind.
  const late = call(pull, Buffer.of(), { deadline: Date.now() + 2000 });
  await expect(late).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  await ended.opened;
});

test('without containerd a call is unavailable; with the end of the service, those that go on', async () => {
  const arrived = closedGate();
  handler = () => arrived.open();
  const running = call(pull, requestFor('r.example/app', 'me'));
  const ending = expect(running).rejects.toMatchObject({ code: status.UNAVAILABLE });
  await arrived.opened;
  service.close();
  await ending;
  behind.forceShutdown();
  const gone = imageService({ containerd: join(folder.path, 'none'), pods, log: silentLogger });
  const other = new Server();
  for (const { definition, implementation } of gone.services)
    other.addService(definition, implementation);
  await listen(other, join(folder.path, 'other'));
  client.close();
  client = new Client(`unix:${join(folder.path, 'other')}`, credentials.createInsecure());
  await expect(call(pull, Buffer.of())).rejects.toMatchObject({ code: status.UNAVAILABLE });
  gone.close();
  other.forceShutdown();
});

test('a pull that succeeded is told so though its credentials cannot be kept', async () => {
  pods.keepFor(() => {
    throw new Error('the database is gone');
  });
  handler = (_, done) => done(null, Buffer.from('pulled'));
  const got = await call(pull, requestFor('r.example/app', 'me'));
  expect(got.toString()).toBe('pulled');
});

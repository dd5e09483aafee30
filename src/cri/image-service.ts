/**
 * Kubernetes' image service (CRI) between a kubelet and containerd: every call is handed on as the bytes that
 * came, so that nothing is lost that this program does not know of, and so is its answer. Of PullImage alone
 * is it read, beside that, with whose credentials an image is pulled.
 */

import {
  Client,
  type ClientUnaryCall,
  type ServerUnaryCall,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
  credentials,
  type handleUnaryCall,
  status,
} from '@grpc/grpc-js';
import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { PodCredentials, PullEnd } from './pod-credentials.js';
import { readPullRequest } from './pull-request.js';

/** Kubelets before 1.26 may speak the older one; the messages are the same. */
const SERVICES = ['runtime.v1.ImageService', 'runtime.v1alpha2.ImageService'];
const METHODS = ['ListImages', 'ImageStatus', 'PullImage', 'RemoveImage', 'ImageFsInfo'];
/** Longest message that a kubelet and containerd take, in bytes. */
const MAX_MESSAGE = 16 * 1024 * 1024;
const SHUTTING_DOWN = { code: status.UNAVAILABLE, details: 'siphon is shutting down' };
/** Milliseconds after which containerd is dialed again that was not there. */
const REDIAL = 2000;

export interface ImageServiceOptions {
  /** Path of containerd's socket. */
  containerd: string;
  pods: PodCredentials;
  log: Logger;
}

export interface ImageService {
  services: readonly GrpcService[];
  /** Ends the calls that go on; the kubelet makes them again. */
  close(): void;
}

interface GrpcService {
  definition: ServiceDefinition;
  implementation: UntypedServiceImplementation;
}

/** Connects to nothing until the first call. */
export function imageService({ containerd, pods, log }: ImageServiceOptions): ImageService {
  const forwarder = new Forwarder(containerd);
  /** What becomes of the credentials is not what the kubelet asked. */
  const telling =
    (ended: PullEnd): PullEnd =>
    async (outcome) => {
      try {
        await ended(outcome);
      } catch (error) {
        log.warn({ error: errorMessage(error) }, 'credentials of a pull are not kept');
      }
    };
  const begin = (request: Buffer): PullEnd | undefined => {
    try {
      const pull = readPullRequest(request);
      return pull && telling(pods.begin(pull));
    } catch (error) {
      // containerd has the last word on what it is asked.
      log.warn({ error: errorMessage(error) }, 'credentials of a pull cannot be used');
      return undefined;
    }
  };
  const services = SERVICES.map((service) => {
    const definition = definitionOf(service);
    const handlers = Object.entries(definition).map(([name, { path }]) => {
      const beforehand = name === 'PullImage' ? begin : (): undefined => undefined;
      return [name, forwarder.handler(path, beforehand)] as const;
    });
    return { definition, implementation: Object.fromEntries(handlers) };
  });
  return { services, close: () => forwarder.close() };
}

function definitionOf(service: string): ServiceDefinition {
  const methods = METHODS.map((name) => [
    name,
    {
      path: `/${service}/${name}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  ]);
  return Object.fromEntries(methods) as ServiceDefinition; // as built above
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

interface Answer {
  error: ServiceError | null;
  response: Buffer | undefined;
}

/** Hands calls on to another server as the bytes they are. */
class Forwarder {
  readonly #client: Client;
  readonly #running = new Set<ClientUnaryCall>();
  #isClosed = false;

  constructor(address: string) {
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_MESSAGE,
      'grpc.max_reconnect_backoff_ms': REDIAL,
    });
  }

  /** A pull's end is told before its answer is. */
  handler(
    path: string,
    beforehand: (request: Buffer) => PullEnd | undefined,
  ): handleUnaryCall<Buffer, Buffer> {
    return (call, done) => {
      const work = async (): Promise<void> => {
        try {
          const ended = beforehand(call.request);
          const { error, response } = await this.#handOn(call, path);
          await ended?.(error === null ? 'pulled' : 'failed');
          if (error === null) done(null, response);
          else done(this.#isClosed ? SHUTTING_DOWN : error);
        } catch (error) {
          done({ code: status.INTERNAL, details: `siphon: ${errorMessage(error)}` });
        }
      };
      void work();
    };
  }

  /** With the caller's metadata and deadline; when the caller hangs up, so does this side. */
  #handOn(call: ServerUnaryCall<Buffer, Buffer>, path: string): Promise<Answer> {
    const { request, metadata } = call;
    const options = { deadline: call.getDeadline() };
    return new Promise((resolve) => {
      const answered = (error: ServiceError | null, response?: Buffer): void => {
        this.#running.delete(running);
        resolve({ error, response });
      };
      const client = this.#client;
      const running = client.makeUnaryRequest(
        path,
        same,
        same,
        request,
        metadata,
        options,
        answered,
      );
      this.#running.add(running);
      call.on('cancelled', () => running.cancel());
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const call of this.#running) call.cancel();
    this.#client.close();
  }
}

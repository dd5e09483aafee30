/** Asks a running service how it is. */

import { get } from 'node:http';
import { SiphonError, errorMessage } from '../common/errors.js';
import { statusSocket } from './monitor-server.js';
import type { ServiceStatus } from './service-status.js';

const TIMEOUT = 5000; // ms

/** @throws SiphonError `not-found` where no service runs on `root`; `unavailable` where it does not answer */
export async function askService(root: string): Promise<ServiceStatus> {
  const socketPath = statusSocket(root);
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => reject(unanswered(root, error));
    const request = get({ socketPath, path: '/status', timeout: TIMEOUT }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.once('error', failed);
      response.once('end', () => {
        // Our own service's words.
        if (response.statusCode === 200) resolve(JSON.parse(text) as ServiceStatus);
        else failed(new Error(text));
      });
    });
    request.once('timeout', () => request.destroy(new Error(`no answer for ${TIMEOUT / 1000} s`)));
    request.once('error', failed);
  });
}

function unanswered(root: string, error: NodeJS.ErrnoException): SiphonError {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    return new SiphonError('not-found', `No service runs on "${root}"`, {
      hint: 'siphon serve starts one; --root names another folder.',
    });
  }
  const message = `Cannot ask the service on "${root}": ${errorMessage(error)}`;
  return new SiphonError('unavailable', message, { cause: error });
}

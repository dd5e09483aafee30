/** What a kubelet's PullImage says of who pulls what. */

import { SiphonError } from '../common/errors.js';
import { type AuthConfig, PullImageRequest } from '../generated/runtime/v1/cri.js';
import { type Credentials, decodePair } from '../remote/credentials.js';
import { type Reference, dialedHost, parseReference } from '../remote/reference.js';

export interface AuthorizedPull {
  reference: Reference;
  credentials: Credentials;
}

/**
 * @param message `runtime.v1.PullImageRequest`, whose fields are those of `v1alpha2`
 * @returns `undefined` where nobody says who pulls, or it is for another registry than the image's
 * @throws SiphonError `usage` or `invalid` for what cannot be understood; the decoder's error
 */
export function readPullRequest(message: Uint8Array): AuthorizedPull | undefined {
  const { image, auth } = PullImageRequest.decode(message);
  if (image === undefined || auth === undefined) return undefined;
  const reference = parseReference(image.image);
  if (!isFor(auth.serverAddress, reference.host)) return undefined;
  const credentials = credentialsOf(auth, reference.host);
  return credentials && { reference, credentials };
}

/** containerd's order of what may be there; a registry's own token comes last. */
function credentialsOf(auth: AuthConfig, host: string): Credentials | undefined {
  const { username, password, identityToken, registryToken } = auth;
  if (username !== '') return { username, password };
  if (identityToken !== '') return { username, password, identityToken };
  if (auth.auth !== '') return decodePair(auth.auth, host);
  return registryToken === '' ? undefined : { username, password, registryToken };
}

/** @param address a host, or a URL, as docker's configuration names registries; empty: any */
function isFor(address: string, host: string): boolean {
  if (address === '') return true;
  const url = URL.parse(/^https?:\/\//.test(address) ? address : `https://${address}`);
  if (url === null) throw new SiphonError('invalid', 'Cannot use credentials: malformed address');
  return url.host === dialedHost(host) || parseReference(`${url.host}/any`).host === host;
}

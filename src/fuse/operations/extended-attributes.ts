/**
 * GETXATTR and LISTXATTR. Overlay asks for `trusted.overlay.*` of every directory it looks at and the
 * kernel does not remember the answer; a layer without any extended attribute answers from a flag.
 */

import { rootLayer } from '../root-directory.js';
import type { Reply } from '../protocol/reply.js';
import { type Operation, type Outcome, errno, layerOf } from './operation.js';

const nul = Buffer.alloc(1);

export const getxattr: Operation = (serving, request, reply) => {
  if (request.layer === rootLayer) return errno.ENODATA;
  const layer = layerOf(serving, request);
  if (layer === undefined) return errno.ESTALE;
  if (!layer.index.info.hasXattrs) return errno.ENODATA;
  const value = layer.index.xattr(request.ino, request.name(8));
  return value === undefined ? errno.ENODATA : putSized(reply, [value], request.u32(0));
};

export const listxattr: Operation = (serving, request, reply) => {
  const layer = layerOf(serving, request);
  if (layer === undefined && request.layer !== rootLayer) return errno.ESTALE;
  const names = layer?.index.info.hasXattrs === true ? layer.index.xattrNames(request.ino) : [];
  return putSized(
    reply,
    names.flatMap((name) => [name, nul]),
    request.u32(0),
  );
};

/** The parts themselves, or where the caller offers no room (0) how much they need. */
function putSized(reply: Reply, parts: Buffer[], offered: number): Outcome {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  if (offered === 0) reply.size(size);
  else if (size > offered) return errno.ERANGE;
  else for (const part of parts) reply.bytes(part);
  return 0;
}

/**
 * GETXATTR and LISTXATTR. Overlay asks for `trusted.overlay.*` of everything that it looks at, and the kernel does not
 * remember that there is nothing; a layer without any extended attribute answers from a flag, and a connection without
 * any ends the questions.
 */

import { isUserNamespace } from '../../common/user-namespace.js';
import { OVERLAY_XATTRS, USER_OVERLAY_XATTRS } from '../../index/overlay-form.js';
import { rootLayer } from '../root-directory.js';
import type { Reply } from '../protocol/reply.js';
import { type Operation, type Outcome, errno, layerOf } from './operation.js';

const nul = Buffer.alloc(1);

/** Overlays in a user namespace ask by other names, and the kernel keeps `trusted.` from them. */
const renames = isUserNamespace();

export const getxattr: Operation = (serving, request, reply) => {
  if (serving.agreement.noXattrs) return errno.ENOSYS;
  if (request.layer === rootLayer) return errno.ENODATA;
  const layer = layerOf(serving, request);
  if (layer === undefined) return errno.ESTALE;
  if (!layer.index.info.hasXattrs) return errno.ENODATA;
  const name = request.name(8);
  const stored = renames ? renamed(name, USER_OVERLAY_XATTRS, OVERLAY_XATTRS) : name;
  const value = layer.index.xattr(request.ino, stored);
  return value === undefined ? errno.ENODATA : putSized(reply, [value], request.u32(0));
};

export const listxattr: Operation = (serving, request, reply) => {
  const layer = layerOf(serving, request);
  if (layer === undefined && request.layer !== rootLayer) return errno.ESTALE;
  const names = layer?.index.info.hasXattrs === true ? layer.index.xattrNames(request.ino) : [];
  return putSized(
    reply,
    names.flatMap((name) => [
      renames ? renamed(name, OVERLAY_XATTRS, USER_OVERLAY_XATTRS) : name,
      nul,
    ]),
    request.u32(0),
  );
};

function renamed(name: Buffer, from: string, to: string): Buffer {
  const text = name.toString('latin1');
  return text.startsWith(from) ? Buffer.from(to + text.slice(from.length), 'latin1') : name;
}

/** The parts themselves, or where the caller offers no room (0) how much they need. */
function putSized(reply: Reply, parts: Buffer[], offered: number): Outcome {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  if (offered === 0) reply.size(size);
  else if (size > offered) return errno.ERANGE;
  else for (const part of parts) reply.bytes(part);
  return 0;
}

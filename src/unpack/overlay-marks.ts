/** The layer is alone in its folder: marks tell overlayfs what it hides. */

import { systemCode } from '../common/errors.js';
import { makeNodeAt, setXattr, setXattrAt, statusAt } from '../ffi/at-calls.js';
import { toBytes } from '../index/byte-path.js';
import { S_IF, isDirectory } from '../index/modes.js';
import {
  HAS_WHITEOUTS_XATTR,
  OPAQUE_XATTR,
  OVERLAY_XATTRS,
  USER_OVERLAY_XATTRS,
} from '../index/overlay-form.js';
import { isUserNamespace } from '../common/user-namespace.js';
import type { TarEntry } from '../index/tar-entry.js';
import type { ByteString } from '../index/tar-header.js';
import type { Attributes } from './attributes.js';
import type { LayerRules } from './layer-rules.js';
import type { Directory } from './rooted-directories.js';

const WHITEOUT_DEVICE = { major: 0, minor: 0 };
const OPAQUE = nameHere(OPAQUE_XATTR.name);
const HAS_WHITEOUTS = nameHere(HAS_WHITEOUTS_XATTR.name);

export class OverlayMarks implements LayerRules {
  readonly #attributes: Attributes;

  constructor(attributes: Attributes) {
    this.#attributes = attributes;
  }

  /** A name that the layer itself has hides the lower one anyway; only a directory would merge. */
  whiteout(parent: Directory, hidden: ByteString, entry: TarEntry): void {
    try {
      makeNodeAt(parent.fd, hidden, S_IF.CHR, WHITEOUT_DEVICE);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      if (isDirectory(statusAt(parent.fd, hidden).mode))
        setXattrAt(parent.fd, hidden, OPAQUE, toBytes(OPAQUE_XATTR.value));
      return;
    }
    this.#attributes.ofNewNode(parent, hidden, { ...entry, mode: 0, xattrs: [] }, S_IF.CHR);
    setXattr(parent.fd, HAS_WHITEOUTS, toBytes(HAS_WHITEOUTS_XATTR.value));
  }

  opaque(directory: Directory): void {
    setXattr(directory.fd, OPAQUE, toBytes(OPAQUE_XATTR.value));
  }

  /** Every path in the folder is the layer's own. */
  claim(): boolean {
    return true;
  }
}

function nameHere(name: string): string {
  return isUserNamespace() ? name.replace(OVERLAY_XATTRS, USER_OVERLAY_XATTRS) : name;
}

import { SiphonError } from '../common/errors.js';

export interface ServeLayoutOptions {
  /** Folder with `oci-layout`, `index.json` and `blobs/`. */
  layout: string;
  /** Default `127.0.0.1`. */
  host?: string;
  /** Default 0: any free port. */
  port?: number;
  /** Serve under this name only; default: under any. */
  repository?: string;
}

export interface LayoutServer {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly port: number;
  readonly stats: { requests: number; bytesSent: number; blobBytesSent: number };
  close(): Promise<void>;
}

export async function serveLayout(_options: ServeLayoutOptions): Promise<LayoutServer> {
  throw new SiphonError('unsupported', 'Cannot serve layouts: not built yet');
}

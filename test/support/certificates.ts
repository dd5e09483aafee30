/** A certificate authority of a test's own, by openssl. */

import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Certificate {
  /** Paths of PEM files. */
  certificate: string;
  key: string;
}

export interface CertificateAuthority {
  /** Path of the PEM file to trust. */
  certificate: string;
  /** For a server on 127.0.0.1 as well as a client. */
  issue(name: string): Promise<Certificate>;
}

/** @param folder for keys and certificates */
export async function createAuthority(folder: string, name = 'ca'): Promise<CertificateAuthority> {
  const path = (file: string): string => join(folder, file);
  const openssl = async (...args: string[]): Promise<void> => {
    await promisify(execFile)('openssl', args);
  };
  const ca = { certificate: path(`${name}.crt`), key: path(`${name}.key`) };
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const own = ['-keyout', ca.key, '-out', ca.certificate, '-subj', `/CN=siphon test ${name}`];
  await openssl('req', '-x509', ...fresh, '-days', '2', ...own);
  return {
    certificate: ca.certificate,
    async issue(subject) {
      const [key, request, certificate, extensions] = ['key', 'csr', 'crt', 'ext'].map((kind) =>
        path(`${subject}.${kind}`),
      ) as [string, string, string, string]; // as many as kinds
      await writeFile(extensions, 'subjectAltName = IP:127.0.0.1, DNS:registry.test\n');
      await openssl('req', ...fresh, '-keyout', key, '-out', request, '-subj', `/CN=${subject}`);
      const signer = ['-CA', ca.certificate, '-CAkey', ca.key, '-CAcreateserial', '-days', '2'];
      await openssl(
        'x509',
        '-req',
        '-in',
        request,
        ...signer,
        '-extfile',
        extensions,
        '-out',
        certificate,
      );
      return { certificate, key };
    },
  };
}

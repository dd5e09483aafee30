/**
 * Writes the blob of a file into a content store: ten bytes at once, the rest when its standard input says
 * so or ends. Arguments: root, digest, file.
 */

import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { ContentStore } from '#src/content/content-store.js';

const [root = '', digest = '', file = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const bytes = await readFile(file);
const store = await ContentStore.open(root);
// @ts-expect-error the digest comes from a test that knows it is one
const writer = await store.write(digest, { digest, total: bytes.length });
await writer.append(one(bytes.subarray(0, 10)), signal);
process.stdout.write('ready\n');
await once(process.stdin, 'data');
await writer.append(one(bytes.subarray(10)), signal);
await writer.commit();
process.exit();

/** @param {Buffer} piece */
async function* one(piece) {
  yield piece;
}

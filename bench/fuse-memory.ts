/**
 * How much memory serving takes: ten layers of 40,400 entries in one mount, walked and read again and again.
 *
 *     npm run build && node dist/bench/fuse-memory.js [--layers N] [--rounds N] [--folder DIR]
 *
 * Each round walks every layer and reads its small files with the kernel's caches dropped, so that all of it
 * reaches the server. Prints what is resident at the start, with all layers mounted, and after each round. The
 * keeper is a shell script beside it (under 2 MB). Needs root, 1 GB in the temporary folder, and a built `dist`.
 */

import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { FuseSession } from '#src/fuse/fuse-session.js';
import { LayerIndex } from '#src/index/layer-index.js';

const folders = 400;
const filesPerFolder = 100;

const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '5' },
    folder: { type: 'string', default: tmpdir() },
  },
});

const run = promisify(execFile);
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  await measure();
} finally {
  rmSync(directory, { recursive: true });
}

async function measure(): Promise<void> {
  const tar = pack();
  report('before');
  const session = await mount(tar);
  try {
    report(`${values.layers} layers mounted`);
    for (let round = 1; round <= Number(values.rounds); round += 1) {
      writeFileSync('/proc/sys/vm/drop_caches', '3');
      await run('bash', [
        '-ec',
        'find "$1" -printf %s > /dev/null; printf "%s\\0" "$1"/*/[0-4]?/* | xargs -0 cat > /dev/null',
        'work',
        session.mountPoint,
      ]);
      report(`round ${round}`);
    }
    const { requests } = session.stats();
    console.log(`requests: ${Object.values(requests).reduce((sum, count) => sum + count, 0)}`);
  } finally {
    await session.unmount();
  }
}

/** One tar stands for all layers; it is also their span cache. */
function pack(): string {
  const plain = join(directory, 'plain');
  for (let folder = 0; folder < folders; folder += 1) {
    const path = join(plain, String(folder).padStart(2, '0'));
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < filesPerFolder; file += 1)
      writeFileSync(join(path, `module-${file}.py`), `${folder} ${file}\n`);
  }
  const tar = join(directory, 'layer.tar');
  execFileSync('tar', ['-C', plain, '-cf', tar, '.']);
  // In a process of its own: what indexing takes is not what serving takes.
  const build = `
    import('#src/index/build-index.js').then(({ buildIndex }) =>
      buildIndex(require('node:fs').createReadStream(process.argv[1]), { output: process.argv[2] }));`;
  execFileSync(process.execPath, ['-e', build, tar, `${tar}.index`]);
  return tar;
}

async function mount(tar: string): Promise<FuseSession> {
  const mountPoint = join(directory, 'mnt');
  mkdirSync(mountPoint);
  const session = await FuseSession.mount({
    mountPoint,
    fetch: () => Promise.reject(new Error('everything is present')),
  });
  for (let number = 1; number <= Number(values.layers); number += 1) {
    const indexPath = join(directory, `index-${number}`);
    copyFileSync(`${tar}.index`, indexPath);
    using index = LayerIndex.open(indexPath);
    const presence = new SharedArrayBuffer(index.info.spanCount);
    new Uint8Array(presence).fill(1);
    session.addLayer({ number, indexPath, cachePath: tar, presence });
  }
  return session;
}

function report(when: string): void {
  console.log(`${when.padEnd(20)} ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`);
}

/** The tree that the suite looks at, made by a shell as root. Files are named by what they are for. */

import { must } from '../support/sandbox.js';

/** Entries of `many/`: more than one answer to readdir holds. */
export const manyFiles = 600;
/** Bytes of `contents/large`: no multiple of a page. */
export const largeSize = 3_000_123;
/** `contents/huge` is all hole but for {@link hugeText}, and ends a page after its begin. */
export const hugeOffset = 2 ** 31 + 4096 + 7;
export const hugeText = 'beyond two gibibytes';
const hugeSize = hugeOffset + 4096;

/** Fills an empty folder. */
export async function writeSample(folder: string): Promise<void> {
  await must('bash', '-ec', script, 'sample', folder);
}

const script = String.raw`
cd "$1"; umask 022
mkdir many bytes names links attributes access contents project
for n in $(seq ${manyFiles}); do echo $n > many/file-$n; done; mkdir many/folder; ln -s file-1 many/link

: > $'bytes/\xff\xfe'; mkdir $'bytes/caf\xe9'; echo latin > $'bytes/caf\xe9/\xe9t\xe9'; ln -s $'caf\xe9/\xe9t\xe9' bytes/link

: > "names/$(printf 'n%.0s' $(seq 255))"; : > $'names/line\nbreak'; : > 'names/ space '; : > names/-dash
: > names/Case; : > names/case; : > 'names/ünï'; : > 'names/back\slash'; mkdir -p names/a/b/c/d/e/f/g; : > names/a/b/c/d/e/f/g/leaf

echo one > links/first; ln links/first links/second; mkdir links/below; ln links/first links/below/third
echo alone > links/alone; mkdir links/parent; mkdir links/parent/{a,b,c}
ln -s ../links/first links/symlink; ln -s /absolute/nowhere links/dangling; ln -s loop links/loop

cd attributes
echo x > setid; chown 1234:5678 setid; chmod 6751 setid; mkdir sticky; chmod 1777 sticky
mknod character c 5 1; mknod block b 250 300; mkfifo fifo; : > empty; chmod 0 empty
echo x > large-ids; chown 3000000:3000001 large-ids
echo x > ancient; echo x > precise; echo x > future
setfattr -n user.text -v value precise; setfattr -n user.binary -v 0x0001ff00 precise
setfattr -n user.empty precise; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 precise
setfattr -n user.folder -v on-a-folder sticky; ln -s precise symlink
cd ..

mkdir access/closed access/searchable access/group
for f in open closed/inside searchable/inside group/inside; do echo $f > access/$f; done
echo secret > access/secret; chmod 600 access/secret; chmod 700 access/closed; chmod 711 access/searchable
chown 0:4321 access/group; chmod 750 access/group; echo owned > access/owned; chown 65534 access/owned; chmod 400 access/owned

head -c ${largeSize} /dev/urandom > contents/large; : > contents/empty; echo -n tiny > contents/tiny
head -c 4096 /dev/urandom > contents/page; cp "$(type -P true)" contents/program
printf '#!/bin/sh\necho "$0" | tail -c 7\n' > contents/script; chmod +x contents/script
truncate -s ${hugeSize} contents/huge
printf '${hugeText}' | dd of=contents/huge bs=1 seek=${hugeOffset} conv=notrunc status=none

cd project
mkdir -p src/deep/er docs; for n in $(seq 40); do seq $n > src/deep/$n.txt; done
printf '#!/bin/sh\n' > src/run; chmod +x src/run; ln -s src/run run; head -c 100000 /dev/zero > docs/zeros
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git init -q -b main; git -c user.name=t -c user.email=t@t add .
git -c user.name=t -c user.email=t@t commit -q -m sample; ln docs/zeros docs/zeros-too
echo changed >> src/run; : > src/untracked; git update-index -q --refresh || :
cd ..

find . -exec touch -h -d '2021-03-04 05:06:07 UTC' {} +
touch -d '1955-11-05 12:00:00.25 UTC' attributes/ancient
touch -d '2001-09-09 01:46:40.123456789 UTC' attributes/precise; touch -d '2100-01-01 00:00:00 UTC' attributes/future
`;

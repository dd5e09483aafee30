/** The program that the demo's container runs, as the text of its one file. */
export const APPLICATION = `import { readFileSync, readdirSync, statSync } from 'node:fs';

console.log('Hello from Node ' + process.version + ' in a container, pid ' + process.pid);
const folders = readdirSync('/app/words');
let bytes = 0;
let files = 0;
for (const folder of folders.slice(0, 3)) {
  for (const name of readdirSync('/app/words/' + folder).slice(0, 10)) {
    bytes += readFileSync('/app/words/' + folder + '/' + name).length;
    files += 1;
  }
}
console.log('Read ' + files + ' small files (' + bytes + ' bytes) of ' + folders.length + ' folders');
console.log('/srv/site holds ' + readdirSync('/srv/site').join(', '));
const mode = (statSync('/usr/local/bin/as-root').mode & 0o7777).toString(8);
console.log('/usr/local/bin/as-root has mode ' + mode);
`;

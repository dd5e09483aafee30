import { type ImagePlan, PATH } from './image-plan.js';

/** About 5 MB: a shell on Debian's C library, and all that it can do by itself. */
export const shell: ImagePlan = {
  name: 'shell',
  title: 'a shell (busybox on glibc)',
  version: 1,
  layers: [
    {
      title: 'busybox and the C library',
      packages: ['busybox', 'base-files'],
      variant: 'extract',
      finish: [
        'chroot "$1" /bin/busybox --install -s',
        'rm -rf "$1/usr/share/doc" "$1/usr/share/man" "$1/usr/share/locale"',
      ],
    },
  ],
  process: { Cmd: ['/bin/sh', '-c', 'echo "ready: $(ls /bin | wc -l) commands"'], Env: [PATH] },
  ready: /^ready: \d{2,3} commands$/,
  ends: true,
};

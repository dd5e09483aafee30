import { DEBIAN, type ImagePlan, PATH } from './image-plan.js';

const BIN = '/usr/lib/postgresql/15/bin';
const DATA = '/var/lib/postgresql/bench';

/** A database server on a cluster that is there already, as after a restart. */
export const postgres: ImagePlan = {
  name: 'postgres',
  title: 'PostgreSQL',
  version: 1,
  layers: [
    DEBIAN,
    {
      title: 'PostgreSQL and an empty cluster',
      packages: ['postgresql-15'],
      variant: 'minbase',
      finish: [
        'rm -rf "$1/var/lib/postgresql/15"',
        `chroot "$1" su postgres -c "${BIN}/initdb --pgdata ${DATA} --auth trust"`,
      ],
    },
  ],
  process: {
    Cmd: [`${BIN}/postgres`, '-D', DATA, '-c', 'unix_socket_directories=/tmp'],
    Env: [PATH],
    User: 'postgres',
  },
  ready: /database system is ready to accept connections/,
};

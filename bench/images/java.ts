import { directory } from '../../demo/image/entry.js';
import { DEBIAN, type ImagePlan, PATH } from './image-plan.js';

const HOME = '/usr/share/jetty9';

/** A servlet container on the JVM. */
export const java: ImagePlan = {
  name: 'java',
  title: 'Jetty on the JVM',
  version: 1,
  layers: [
    DEBIAN,
    {
      title: 'the JVM and Jetty',
      packages: ['openjdk-17-jre-headless', 'jetty9'],
      variant: 'minbase',
    },
    { title: 'application', files: () => [directory('srv/jetty/webapps')] },
  ],
  process: {
    Cmd: [
      '/usr/bin/java',
      `-Djetty.home=${HOME}`,
      '-Djetty.base=/srv/jetty',
      '-jar',
      `${HOME}/start.jar`,
      '--module=http,deploy',
      'jetty.http.port=8080',
    ],
    Env: [PATH],
    WorkingDir: '/srv/jetty',
  },
  ready: /Started @\d+ms/,
};

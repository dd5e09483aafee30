import { file } from '../../demo/image/entry.js';
import { DEBIAN, type ImagePlan, PATH } from './image-plan.js';

const CONFIGURATION = `daemon off;
error_log stderr notice;
pid /tmp/nginx.pid;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server { listen 8080; root /var/www/html; }
}
`;

/** Ready when its workers start. */
export const nginx: ImagePlan = {
  name: 'nginx',
  title: 'nginx',
  version: 1,
  layers: [
    DEBIAN,
    { title: 'nginx', packages: ['nginx-light'], variant: 'minbase' },
    { title: 'configuration', files: () => [file('etc/nginx/bench.conf', CONFIGURATION)] },
  ],
  process: { Cmd: ['/usr/sbin/nginx', '-c', '/etc/nginx/bench.conf'], Env: [PATH] },
  ready: /start worker process \d+/,
};

import { file } from '../../demo/image/entry.js';
import { DEBIAN, type ImagePlan, type LayerRecipe, PATH } from './image-plan.js';

const SERVER = `const modules = ['express', 'webpack', 'terser', '@babel/core', 'lodash', 'typescript'];
for (const name of modules) require(name);
const application = require('express')();
application.get('/', (request, response) => response.send('hello'));
application.listen(3000, () => console.log('ready: listens on port 3000'));
`;

const SECOND = `const { readdirSync } = require('node:fs');
const modules = ['express', 'lodash', 'rollup'];
for (const name of modules) require(name);
require('express')().listen(3001, () => {
  console.log('ready: ' + readdirSync('/usr/share/nodejs').length + ' modules beside this one');
});
`;

/** Node with the modules that Debian packages: some ten thousand files below one folder. */
const MODULES: LayerRecipe = {
  title: 'Node and its modules',
  packages: [
    'nodejs',
    'npm',
    'webpack',
    'eslint',
    'node-express',
    'node-typescript',
    'node-rollup',
    'node-babel7',
    'node-lodash',
    'terser',
    'jest',
  ],
  variant: 'minbase',
};

const process = {
  Cmd: ['/usr/bin/node', '/app/server.js'],
  Env: [PATH, 'NODE_PATH=/usr/share/nodejs:/usr/lib/nodejs'],
};

/** A web server that loads half a dozen large modules before it listens. */
export const node: ImagePlan = {
  name: 'node',
  title: 'Node with a large node_modules',
  version: 1,
  layers: [DEBIAN, MODULES, { title: 'application', files: () => [file('app/server.js', SERVER)] }],
  process,
  ready: /^ready: listens on port 3000$/,
};

/** Another application on the same layers. */
export const nodeSecond: ImagePlan = {
  name: 'node-second',
  title: 'another application on the layers of "node"',
  version: 2,
  layers: [DEBIAN, MODULES, { title: 'application', files: () => [file('app/server.js', SECOND)] }],
  process,
  ready: /^ready: \d+ modules beside this one$/,
  sharesLayersWith: node,
};

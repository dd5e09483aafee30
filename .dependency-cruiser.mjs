/**
 * The one way that dependencies point, written down: which folder of `src` may import which, which
 * packages belong to whom. A folder that is not named as allowed is what its reader need not know.
 */

/** What each folder may import besides itself. */
const MAY_IMPORT = {
  common: [],
  ffi: ['common'],
  generated: [],
  remote: ['common'],
  index: ['common', 'ffi'],
  unpack: ['common', 'ffi', 'index'],
  content: ['common', 'ffi', 'remote', 'index'],
  fuse: ['common', 'ffi', 'index'],
  'registry-server': ['common', 'remote', 'content'],
  layers: ['common', 'ffi', 'remote', 'index', 'content', 'fuse', 'unpack'],
  monitor: ['common', 'ffi', 'remote', 'content', 'fuse', 'layers'],
  exec: ['common', 'ffi', 'content'],
  snapshotter: ['common', 'ffi', 'generated'],
  containerd: ['common', 'remote', 'content', 'generated'],
  cri: ['common', 'remote', 'generated'],
  cli: [
    'common',
    'ffi',
    'remote',
    'index',
    'content',
    'registry-server',
    'layers',
    'monitor',
    'exec',
    'snapshotter',
    'containerd',
    'cri',
  ],
};

/**
 * Interfaces that are seen, and nothing of what is behind them.
 * @type {Record<string, string[]>}
 */
const MAY_IMPORT_TYPES = {
  index: ['remote'],
  layers: ['snapshotter'],
};

/** Packages and built-in modules that only some folders may use, because knowing them is their job. */
const BELONGS_TO = {
  undici: ['remote'],
  'node:https?': ['remote', 'registry-server', 'monitor'],
  'prom-client': ['monitor'],
  koffi: ['ffi'],
  'better-sqlite3': ['common', 'index', 'content', 'layers', 'snapshotter'],
  '@grpc/grpc-js': ['snapshotter', 'containerd', 'cri', 'generated'],
  '@bufbuild/protobuf': ['snapshotter', 'generated'],
  commander: ['cli'],
  'fuse-native': ['fuse'],
};

const folders = Object.keys(MAY_IMPORT);

/** @type {import('dependency-cruiser').IForbiddenRuleType[]} */
const layering = Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
  name: `${folder}-knows-only-what-is-below`,
  severity: 'error',
  from: { path: `^src/${folder}/` },
  to: {
    path: '^src/',
    pathNot: paths([folder, ...allowed, ...(MAY_IMPORT_TYPES[folder] ?? [])]),
  },
}));

/** @type {import('dependency-cruiser').IForbiddenRuleType[]} */
const typesOnly = Object.entries(MAY_IMPORT_TYPES).map(([folder, seen]) => ({
  name: `${folder}-sees-only-types`,
  severity: 'error',
  from: { path: `^src/${folder}/` },
  to: { path: paths(seen), dependencyTypesNot: ['type-only'] },
}));

/** @type {import('dependency-cruiser').IForbiddenRuleType[]} */
const ownership = Object.entries(BELONGS_TO).map(([name, owners]) => ({
  name: `${name.replace(/\W+/g, '-')}-has-its-place`,
  severity: 'error',
  from: { path: '^src/', pathNot: paths(owners) },
  to: { path: `(^|/)${name.replace('node:', '^(node:)?')}(/|$)`, pathNot: '^src/' },
}));

/** @param {readonly string[]} names */
function paths(names) {
  return names.map((name) => `^src/${name}/`);
}

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'known-folders',
      comment: 'A new folder of src gets its line above first.',
      severity: 'error',
      from: {},
      to: { path: '^src/', pathNot: paths(folders) },
    },
    {
      name: 'resolvable',
      comment: 'Optional packages are not installed everywhere.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^(better-sqlite3-napi|fuse-native)$' },
    },
    {
      name: 'product-stands-alone',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|demo|bench|scripts|dist)/' },
    },
    {
      name: 'benchmarks-need-no-tests',
      severity: 'error',
      from: { path: '^(bench|demo)/' },
      to: { path: '^test/' },
    },
    {
      name: 'declared-packages',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/generated/' },
      to: {
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'],
        dependencyTypesNot: ['type-only'],
      },
    },
    ...layering,
    ...typesOnly,
    ...ownership,
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      // `#src/…` is src to the compiler and dist at run time; here it is src.
      conditionNames: ['types', 'import', 'node', 'default'],
      mainFields: ['module', 'main', 'types'],
    },
  },
};

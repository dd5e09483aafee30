import { file } from '../../demo/image/entry.js';
import { DEBIAN, type ImagePlan, PATH } from './image-plan.js';

const PROGRAM = `import numpy, pandas, scipy.stats
values = numpy.random.default_rng(1).normal(size=10000)
table = pandas.DataFrame({'value': values})
print('ready: p =', round(scipy.stats.normaltest(table['value']).pvalue, 3), flush=True)
`;

/** Over 400 MB of numpy, scipy and pandas with all that they need. */
export const python: ImagePlan = {
  name: 'python',
  title: 'Python with the scientific stack',
  version: 1,
  layers: [
    DEBIAN,
    {
      title: 'numpy, scipy, pandas',
      packages: ['python3-numpy', 'python3-scipy', 'python3-pandas'],
      variant: 'minbase',
    },
    { title: 'application', files: () => [file('app/main.py', PROGRAM)] },
  ],
  process: { Cmd: ['/usr/bin/python3', '/app/main.py'], Env: [PATH] },
  ready: /^ready: p = 0\.\d+$/,
  ends: true,
};

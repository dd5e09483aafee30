import { writeLayout } from './image/write-layout.js';
import { DEMO_PROCESS, demoLayers } from './image/demo-image.js';
console.time('image');
const image = await writeLayout({
  layout: process.argv[2] ?? '/tmp/demo-layout',
  tag: 'latest',
  layers: await demoLayers(),
  process: DEMO_PROCESS,
  onLayer: (l, t) => console.log(t, l),
});
console.timeEnd('image');
console.log(image);

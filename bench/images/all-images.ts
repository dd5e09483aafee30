import type { ImagePlan } from './image-plan.js';
import { java } from './java.js';
import { nginx } from './nginx.js';
import { node, nodeSecond } from './node.js';
import { postgres } from './postgres.js';
import { python } from './python.js';
import { shell } from './shell.js';

/** From the smallest to the one that takes longest to make. */
export const ALL_IMAGES: readonly ImagePlan[] = [
  shell,
  nginx,
  postgres,
  java,
  python,
  node,
  nodeSecond,
];

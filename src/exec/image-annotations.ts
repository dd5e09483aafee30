import type { RunnableImage } from './image-process.js';

/**
 * What an image says of itself that the runtime-spec has no field for (OCI image-spec, conversion.md,
 * "Annotation Fields"). Not its labels: there are annotations that runtimes take orders from, and an
 * image has none to give.
 */
export function imageAnnotations(image: RunnableImage): Record<string, string> {
  const { config = {}, os, architecture, variant, author, created } = image;
  const facts = {
    os,
    architecture,
    variant,
    author,
    created,
    stopSignal: config.StopSignal,
    exposedPorts: config.ExposedPorts?.join(','),
  };
  return Object.fromEntries(
    Object.entries(facts).flatMap(([name, value]) =>
      value === undefined || value === '' ? [] : [[`org.opencontainers.image.${name}`, value]],
    ),
  );
}

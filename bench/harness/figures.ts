/** How a single benchmark tells the gate what it found: in one line of its output, after what it prints for people. */

const MARK = 'figures: ';

/** Numbers by name. */
export type Figures = Record<string, number>;

export function printFigures(figures: Figures): void {
  console.log(`${MARK}${JSON.stringify(figures)}`);
}

/** @returns those of all such lines of an output */
export function parseFigures(output: string): Figures {
  const lines = output.split('\n').filter((line) => line.startsWith(MARK));
  // Written by printFigures.
  const all = lines.map((line) => JSON.parse(line.slice(MARK.length)) as Figures);
  return Object.assign({}, ...all) as Figures;
}

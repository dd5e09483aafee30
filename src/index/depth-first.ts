/**
 * Goes through a tree depth first, a node before what is below it. What is on the way is on the heap, not on the
 * stack: trees can be deeper than that is.
 * @param first nodes at depth 1
 * @param below what is below a node, asked for once that has been given
 */
export function* depthFirst<Node>(
  first: Iterator<Node>,
  below: (node: Node) => Iterator<Node> | undefined,
): Generator<{ node: Node; depth: number }, undefined> {
  const way = [first];
  for (let last = way.at(-1); last !== undefined; last = way.at(-1)) {
    const next = last.next();
    if (next.done === true) {
      way.pop();
      continue;
    }
    yield { node: next.value, depth: way.length };
    const inner = below(next.value);
    if (inner !== undefined) way.push(inner);
  }
  return undefined;
}

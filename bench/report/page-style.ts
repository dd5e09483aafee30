/** How the page looks, by light and by dark, on a telephone and on a wide screen. */

export const PAGE_STYLE = `
:root {
  --paper: #fbfbf9; --card: #ffffff; --ink: #1c2024; --soft: #59616b; --rule: #dfe1e0; --unread: #e9ebea;
  --trouble: #b3261e; --link: #1f5fae;
  --faster: 46, 139, 87; --slower: 200, 90, 30;
  --resolve: #7d8590; --index: #b97700; --fetch: #2f6fbd; --run: #2c8a63;
  --c0: #2f6fbd; --c1: #c2571a; --c2: #2c8a5a; --c3: #8e4fb0; --c4: #b3365e; --c5: #7a6a00; --c6: #1b7f90; --c7: #666b70;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1b1f23; --ink: #e7e9eb; --soft: #a3abb3; --rule: #343a40; --unread: #2a2f34;
    --trouble: #ff8a80; --link: #8bb8f4;
    --faster: 80, 190, 130; --slower: 235, 130, 70;
    --resolve: #9aa2ac; --index: #e0a33a; --fetch: #5f9fe8; --run: #52b988;
    --c0: #6ea8f0; --c1: #f0915a; --c2: #5cc48d; --c3: #c495e6; --c4: #f08aa8; --c5: #c9b44a; --c6: #55c0d0; --c7: #a8adb2;
  }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0 auto; padding: 1.5rem clamp(0.9rem, 3vw, 2.5rem) 4rem; max-width: 80rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.4rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 0.2rem; }
h3 { font-size: 1rem; margin: 0 0 0.4rem; }
h4 { font-size: 0.95rem; margin: 0; }
p { margin: 0.3rem 0; max-width: 75ch; }
a { color: var(--link); }
code {
  font: 0.9em/1.4 ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", monospace; background: var(--unread);
  padding: 0.1em 0.35em; border-radius: 4px; overflow-wrap: anywhere;
}
section { margin-top: 2.75rem; }
main > section { border-top: 1px solid var(--rule); padding-top: 1.4rem; }
.detail, .facts-line { color: var(--soft); font-size: 0.85rem; }
.facts { display: flex; flex-wrap: wrap; gap: 0.5rem 1.75rem; margin: 1rem 0 0; }
.facts dt { color: var(--soft); font-size: 0.78rem; }
.facts dd { margin: 0; font-size: 0.9rem; }
.trouble { color: var(--trouble); font-weight: 600; }
.troubles { list-style: none; padding: 0; font-size: 0.9rem; }
.charts { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.charts .wide { grid-column: 1 / -1; }
figure { margin: 1.2rem 0 0; padding: 1rem; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; min-width: 0; }
.charts figure { margin: 0; }
.charts { margin-top: 1.2rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; list-style: none; margin: 0 0 0.7rem; padding: 0; font-size: 0.9rem; }
.swatch { display: inline-block; width: 0.9em; height: 0.9em; border-radius: 2px; vertical-align: -0.08em; }
.sample { vertical-align: 0.1em; }
.bars { list-style: none; margin: 0; padding: 0; display: grid; gap: 0.75rem; }
.bars .name { font-weight: 600; margin-right: 0.4rem; }
.bars .value, .legend .value { color: var(--soft); font-variant-numeric: tabular-nums; }
.bars .detail { display: block; font-variant-numeric: tabular-nums; }
.bar { display: block; width: 100%; margin: 0.2rem 0; overflow: visible; }
.bar rect { stroke: var(--card); stroke-width: 1px; }
.spread line { stroke: var(--ink); stroke-width: 1.5px; }
rect.resolve { fill: var(--resolve); } rect.index { fill: var(--index); } rect.fetch { fill: var(--fetch); } rect.run { fill: var(--run); }
.swatch.resolve { background: var(--resolve); } .swatch.index { background: var(--index); } .swatch.fetch { background: var(--fetch); } .swatch.run { background: var(--run); }
.c0 { --own: var(--c0); } .c1 { --own: var(--c1); --dash: 7 3; } .c2 { --own: var(--c2); --dash: 2 3; } .c3 { --own: var(--c3); --dash: 9 3 2 3; }
.c4 { --own: var(--c4); --dash: 4 2; } .c5 { --own: var(--c5); --dash: 9 3 2 3 2 3; } .c6 { --own: var(--c6); --dash: 12 4; } .c7 { --own: var(--c7); --dash: 1 2; }
rect.c0, rect.c1, rect.c2, rect.c3, rect.c4, rect.c5, rect.c6, rect.c7, .strip path { fill: var(--own); }
.pale { fill-opacity: 0.55; }
.unread { fill: var(--unread); }
.line, .sample path { fill: none; stroke: var(--own); stroke-width: 2px; stroke-dasharray: var(--dash, none); vector-effect: non-scaling-stroke; }
.pieces { fill: none; stroke: var(--own); stroke-width: 3px; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.border { stroke: var(--soft); stroke-width: 1px; stroke-opacity: 0.6; vector-effect: non-scaling-stroke; }
.ready { stroke: var(--ink); stroke-width: 1.5px; stroke-dasharray: 5 4; vector-effect: non-scaling-stroke; }
.grid { stroke: var(--rule); stroke-width: 1px; vector-effect: non-scaling-stroke; }
.plot { display: grid; grid-template-columns: auto 1fr; font-size: 0.78rem; color: var(--soft); font-variant-numeric: tabular-nums; padding: 0.5rem 1.4rem 0 0; }
.plot svg { grid-column: 2; width: 100%; height: var(--height); display: block; overflow: visible; }
.plot .y { position: relative; width: 2.9rem; }
.plot .y span { position: absolute; right: 0.5rem; transform: translateY(-50%); white-space: nowrap; }
.plot .x { grid-column: 2; position: relative; height: 1.5rem; }
.plot .x span { position: absolute; top: 0.3rem; transform: translateX(-50%); white-space: nowrap; }
.plot .x-title { grid-column: 2; text-align: center; }
.maps { display: grid; gap: 1.6rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); margin-top: 0.8rem; }
.map { margin: 0; min-width: 0; display: flex; flex-direction: column; }
.map > .detail { flex: 1 0 auto; }
.strip { display: block; width: auto; margin: 0.3rem 1.4rem 0 2.9rem; }
.scroll { overflow-x: auto; margin-top: 1.2rem; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.88rem; line-height: 1.25rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.375rem 0.8rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
.words td, .words th { text-align: left; white-space: normal; }
.overview th:first-child { white-space: normal; min-width: 9rem; }
.overview thead th { white-space: normal; }
.nothing { color: var(--soft); }
.overview .detail { color: inherit; }
.faster { background: rgba(var(--faster), calc(0.06 + 0.3 * var(--strength))); }
.slower { background: rgba(var(--slower), calc(0.06 + 0.3 * var(--strength))); }
@media (max-width: 40rem) {
  figure { padding: 0.8rem 0.7rem; }
  th, td { padding: 0.25rem 0.5rem; }
}
@media print { figure, tr { break-inside: avoid; } }
`;

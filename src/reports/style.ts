/** How the page looks: light, dark, narrow and on paper. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ground: #f4f5f7; --ink: #1b2028; --quiet: #5c6673; --line: #dde1e7;
  --accent: #2f6fde; --track: #e9edf3; --good: #1d7a46; --warn: #96600a; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #1a1e25; --ground: #12151a; --ink: #e7eaef; --quiet: #9aa4b2; --line: #323945;
    --accent: #7ba7f7; --track: #2a313c; --good: #63cf93; --warn: #e5b25d; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 62rem; margin: 2rem auto; padding: 2.2rem 2.5rem; background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
h1 { margin: 0 0 .3rem; font-size: 1.65rem; line-height: 1.25; letter-spacing: -.01em; }
h2 { margin: 2.2rem 0 .7rem; font-size: 1.05rem; }
p { margin: .3rem 0; }
.quiet { color: var(--quiet); }
main { overflow-wrap: anywhere; }
.any, td, dt, dd, li, .name, code { unicode-bidi: isolate; }
code, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .88em; }
header { display: flex; gap: 1rem; justify-content: space-between; align-items: flex-start; }
.badge { flex: none; padding: .25rem .8rem; border: 1.5px solid currentColor; border-radius: 99px; font-weight: 600; font-size: .9rem; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.way { display: grid; grid-template-columns: fit-content(14rem) minmax(0, 1fr); gap: .15rem 1rem; margin: 1.1rem 0 0; }
.way dt { color: var(--quiet); } .way dd { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .7rem; margin: 1.5rem 0 0; }
.tile { padding: .7rem .9rem; border: 1px solid var(--line); border-radius: 8px; }
.tile b { display: block; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3; white-space: nowrap; }
.tile span { color: var(--quiet); font-size: .85rem; }
.problem { margin: 1.5rem 0 0; padding: .8rem 1rem; border: 1px solid var(--bad); border-left-width: 5px; border-radius: 6px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th { padding: .4rem .5rem; border-bottom: 1.5px solid var(--line); color: var(--quiet); font-weight: 500; text-align: right; white-space: nowrap; }
td { padding: .4rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; text-align: left; white-space: normal; }
th:last-child, td:last-child { padding-right: 0; }
.compared th { vertical-align: bottom; white-space: normal; overflow-wrap: normal; }
.compared td:first-child { min-width: 26ch; }
tfoot td { border-bottom: 0; font-weight: 600; }
.zero { color: var(--quiet); opacity: .65; }
.digests td { text-align: left; white-space: normal; } .digests th { text-align: left; }
.bars { display: grid; gap: .35rem; }
.bar { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr 6.5rem; gap: .8rem; align-items: center; font-size: .9rem; }
.bar svg { display: block; width: 100%; height: .8rem; border-radius: 3px; }
.bar .figure { text-align: right; font-variant-numeric: tabular-nums; color: var(--quiet); }
.track { fill: var(--track); } .fill { fill: var(--accent); }
.line svg { display: block; width: 100%; height: 9rem; border-bottom: 1px solid var(--line); }
.area { fill: var(--accent); opacity: .16; }
.stroke { fill: none; stroke: var(--accent); stroke-width: 2; vector-effect: non-scaling-stroke; }
.axis { display: flex; justify-content: space-between; color: var(--quiet); font-size: .85rem; }
ul { margin: 0; padding-left: 1.2rem; }
.signature { display: grid; grid-template-columns: 2fr 1fr 2fr; gap: 1.5rem; margin-top: 4rem; }
.signature span { padding-top: .35rem; border-top: 1px solid var(--ink); color: var(--quiet); font-size: .85rem; }
footer { margin-top: 2rem; color: var(--quiet); font-size: .85rem; }
@media screen and (max-width: 60rem) {
  main { margin: 0; padding: 1.3rem 1.1rem 2rem; border: 0; border-radius: 0; }
  header { flex-direction: column-reverse; gap: .6rem; }
  .way { grid-template-columns: minmax(0, 1fr); gap: 0; } .way dd { margin-bottom: .5rem; }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
  .tile b { white-space: normal; }
  .counts thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .counts, .counts tbody, .counts tfoot { display: block; }
  .counts tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.4rem; padding: .6rem 0; border-bottom: 1px solid var(--line); }
  .counts td { display: flex; justify-content: space-between; gap: .6rem; padding: .05rem 0; border: 0; white-space: normal; }
  .counts td:first-child { grid-column: 1 / -1; font-weight: 600; }
  .counts td[data-label]::before { content: attr(data-label); color: var(--quiet); font-weight: 400; }
  .counts td.zero { display: none; }
  .bars { gap: .6rem; }
  .bar { grid-template-columns: minmax(0, 1fr) auto; gap: .15rem .8rem; }
  .bar svg { grid-row: 2; grid-column: 1 / -1; }
  .signature { grid-template-columns: 1fr; gap: 2.6rem; }
}
@media print {
  :root {
    --paper: #fff; --ground: #fff; --ink: #000; --quiet: #444; --line: #bbb;
    --accent: #2f6fde; --track: #eee; --good: #14592f; --warn: #7a4b00; --bad: #8f1d17;
  }
  @page { margin: 15mm; }
  body { font-size: 10pt; }
  main { max-width: none; margin: 0; padding: 0; border: 0; }
  table { font-size: 7.5pt; }
  th, td { padding: .25rem .3rem; }
  .bar { font-size: 8.5pt; }
  h2 { break-after: avoid; }
  tr, .bar, .tile, .line, .signature, .problem { break-inside: avoid; }
  .track, .fill, .area { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`;

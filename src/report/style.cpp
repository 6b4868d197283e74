#include "report/sections.h"

namespace sae::report {

// Colours s0 to s4 are for members without a mask, s5 to s7, warmer, for masked ones; each set can
// be told apart with any common colour vision, and shapes repeat the distinction.
const char* const kStyle = R"css(
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1c1c1e; --soft: #5b5f66; --rule: #d9dbdf; --faint: #eceef1; --block: #f6f7f8;
  --c0: #0072b2; --c1: #5f6368; --c2: #00855f; --c3: #a07400; --c4: #4a9fd4;
  --c5: #d55e00; --c6: #b0307f; --c7: #6b4ba3; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15171a; --ink: #e7e8ea; --soft: #a2a7ae; --rule: #3b4046; --faint: #2a2e33; --block: #1e2125;
  --c0: #5aaee8; --c1: #b4b8bd; --c2: #35c498; --c3: #d8ac3c; --c4: #9ad4f5;
  --c5: #ff8f4d; --c6: #ee86c2; --c7: #b9a0ee; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; padding: 3.5rem 1.5rem 5rem; max-width: 70rem; background: var(--paper);
  color: var(--ink); font: 1.0625rem/1.6 Charter, "Bitstream Charter", "Source Serif 4", Georgia, serif; }
h1, h2 { line-height: 1.2; font-weight: 600; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: 2.1rem; margin: 0; max-width: 32ch; }
h2 { font-size: 1.3rem; margin: 0 0 .35rem; }
h3 { font-size: .9375rem; margin: 1.5rem 0 .5rem; }
section { margin-top: 3.25rem; }
h3, .meta, .note, figcaption, .legend, table, summary, dl, svg text {
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.meta { margin: .5rem 0 0; color: var(--soft); font-size: .9rem; }
.findings { margin: 1.75rem 0 0; max-width: 68ch; font-size: 1.125rem; hyphens: auto; }
.note { margin: 0 0 1rem; max-width: 78ch; color: var(--soft); font-size: .875rem; line-height: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; margin: 0 0 1rem; padding: 0; list-style: none;
  font-size: .875rem; }
.legend li { display: flex; align-items: center; overflow-wrap: anywhere; }
.swatch { width: 30px; height: 14px; flex: none; margin-right: .4rem; vertical-align: -2px; }
.figures { display: grid; gap: 2rem 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.figures.many { grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
.figures.bars { grid-template-columns: repeat(auto-fill, minmax(min(100%, 14.5rem), 1fr)); gap: 1.5rem; }
.figures.many + .figures.many { margin-top: 2rem; }
figure { margin: 0; max-width: 32rem; break-inside: avoid; }
figcaption { font-size: .875rem; font-weight: 600; margin-bottom: .25rem; overflow-wrap: anywhere; }
figure svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--ink); }
svg .tick, svg .name { fill: var(--soft); }
.tick { font-variant-numeric: tabular-nums; }
.grid, .axis, .leader, .line, .whisker { fill: none; }
.grid { stroke: var(--faint); }
.axis { stroke: var(--soft); }
.leader { stroke: var(--rule); }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); }
.s4 { --c: var(--c4); } .s5 { --c: var(--c5); } .s6 { --c: var(--c6); } .s7 { --c: var(--c7); }
.line { stroke: var(--c); stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
.strong .line { stroke-width: 2.8; }
.dashed .line { stroke: var(--ink); stroke-dasharray: 5 4; stroke-width: 1.4; }
.whisker { stroke: var(--c); stroke-width: 1.2; }
.m { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
.bar { fill: var(--c); }
.band { fill: var(--c); opacity: .2; }
svg .label { fill: var(--c); }
svg .label.strong { font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: auto; min-width: min(100%, 42rem); font-size: .78rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; border-bottom: 1.5px solid var(--ink); }
th, td { padding: .3rem .45rem; text-align: right; font-weight: 400; white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: var(--paper); }
thead th { border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--ink); white-space: normal;
  vertical-align: bottom; color: var(--soft); min-width: 4.5rem; }
tbody tr:hover > * { background: var(--block); }
.level th { font-weight: 600; padding-top: .9rem; }
tbody tr.level:hover > * { background: none; }
tbody + tbody .level th { border-top: 1px solid var(--rule); }
td.text, th.text { text-align: left; }
td.failed { color: var(--c5); white-space: normal; }
td strong { font-weight: 700; }
.sd { color: var(--soft); font-size: .86em; }
.heat td { min-width: 4.5rem; background: color-mix(in srgb, var(--c5) calc(var(--h, 0) * 7%), transparent); }
.h1 { --h: 1; } .h2 { --h: 2; } .h3 { --h: 3; } .h4 { --h: 4; } .h5 { --h: 5; } .h6 { --h: 6; } .h7 { --h: 7; }
.h8 { --h: 8; } .h9 { --h: 9; } .h10 { --h: 10; }
.out { color: var(--c5); }
abbr { text-decoration: none; }
summary { cursor: pointer; font-size: .9375rem; padding: .25rem 0; }
pre { margin: .5rem 0 0; padding: 1rem; background: var(--block); border-radius: 4px; font-size: .8125rem;
  line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
dl { margin: 1rem 0 0; font-size: .875rem; display: flex; flex-wrap: wrap; gap: .35rem 2rem; }
dl div { display: flex; gap: .5rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { padding: 2rem 1rem 3rem; font-size: 1rem; }
  h1 { font-size: 1.6rem; }
  section { margin-top: 2.5rem; }
  .findings { font-size: 1.0625rem; }
  .bars figure { max-width: 19rem; }
  .sd { display: block; }
}
@page { size: A4; margin: 16mm 14mm; }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --faint: #e4e4e4; --block: #f4f4f4;
    --c0: #0072b2; --c1: #5f6368; --c2: #00855f; --c3: #a07400; --c4: #4a9fd4;
    --c5: #d55e00; --c6: #b0307f; --c7: #6b4ba3; }
  html { font-size: 9.5pt; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  section { margin-top: 7mm; }
  h2 { break-after: avoid; }
  .findings { font-size: 10.5pt; max-width: none; }
  .note { max-width: none; break-after: avoid; break-inside: avoid; }
  .figures { grid-template-columns: 1fr 1fr; gap: 5mm 8mm; }
  .figures.many { grid-template-columns: 1fr 1fr 1fr; gap: 4mm 5mm; }
  .figures.bars { grid-template-columns: 1fr 1fr 1fr 1fr; gap: 4mm; }
  table { font-size: 7.5pt; width: 100%; }
  th:first-child { position: static; }
  th, td { padding: .15rem .3rem; }
  thead th { min-width: 0; }
  tbody, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  .sd { display: block; }
}
)css";

}  // namespace sae::report

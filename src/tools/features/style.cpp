#include "tools/features/page.h"

namespace sae {

// --shade at --a times --most lies under text of colour --ink: contrast stays above 4.5 to 1.
const char* const kFeaturesStyle = R"css(
:root { color-scheme: light dark;
  --paper: #fff; --ink: #1c1c1e; --soft: #5b5f66; --rule: #d9dbdf; --block: #f3f4f6; --field: #767b83;
  --link: #00609a; --bar: #0072b2; --chosen: #dcebf6; --shade: 232 119 34; --most: .8; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15171a; --ink: #e7e8ea; --soft: #a2a7ae; --rule: #3b4046; --block: #1e2125; --field: #8a9099;
  --link: #6bb6ec; --bar: #5aaee8; --chosen: #20384a; --shade: 224 108 40; --most: .62; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
html, body { height: 100%; }
body { margin: 0; display: flex; flex-direction: column; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1, h2, h3 { line-height: 1.25; font-weight: 600; overflow-wrap: anywhere; margin: 0; }
h1 { font-size: 1.25rem; }
h2 { font-size: 1.5rem; }
h3 { font-size: 1.0625rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; }
a { color: var(--link); }
.soft { color: var(--soft); font-size: .875rem; }
header { padding: .75rem 1.25rem; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
.panes { flex: 1; display: flex; min-height: 0; }
nav { width: 27rem; flex: none; display: flex; flex-direction: column; border-right: 1px solid var(--rule); }
.controls { display: grid; grid-template-columns: auto 1fr; gap: .4rem .6rem; align-items: center;
  padding: .75rem 1.25rem 0; font-size: .9375rem; }
.check { grid-column: 2; display: flex; gap: .4rem; align-items: center; }
input[type=search], select, button { font: inherit; color: inherit; background: var(--paper);
  border: 1px solid var(--field); border-radius: 4px; padding: .3rem .5rem; min-width: 0; width: 100%; }
button { width: auto; cursor: pointer; padding: .3rem .8rem; }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 2px; }
::placeholder { color: var(--soft); opacity: 1; }
#found { padding: .4rem 1.25rem; margin: 0; }
.columns, .row { display: grid; grid-template-columns: 3.5rem 5rem 3.75rem 1fr; gap: .5rem; padding: 0 1.25rem; }
.columns { border-bottom: 1px solid var(--rule); font-size: .8125rem; }
#rows { flex: 1; overflow-y: auto; position: relative; min-height: 8rem; }
#rows:focus-visible { outline-offset: -3px; }
#spacer { position: relative; }
.row { position: absolute; left: 0; right: 0; height: 34px; line-height: 34px; cursor: pointer; font-size: .9375rem;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.row span { overflow: hidden; text-overflow: ellipsis; white-space: pre; }
.row span:nth-child(-n+3), .columns span:nth-child(-n+3) { text-align: right; }
.row:hover { background: var(--block); }
.row[aria-selected=true] { background: var(--chosen); }
#rows:focus .row.cursor { box-shadow: inset 4px 0 0 var(--bar); background: var(--block); }
#rows:focus .row.cursor[aria-selected=true] { background: var(--chosen); }
main { flex: 1; min-width: 0; overflow-y: auto; padding: 1.25rem 2rem 4rem; }
main:focus { outline: none; }
main:focus-visible { outline: 3px solid var(--bar); outline-offset: -3px; }
.steps { display: flex; flex-wrap: wrap; gap: .5rem; margin-bottom: 1rem; }
#back { display: none; }
.reads { margin: .5rem 0 0; padding: 0 0 0 .75rem; border-left: 4px solid var(--bar); list-style: none; max-width: 68rem;
  overflow-wrap: anywhere; }
.found { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .5rem; }
dl { margin: .75rem 0 0; display: flex; flex-wrap: wrap; gap: .5rem 2rem; font-size: .9375rem; }
dt { color: var(--soft); font-size: .8125rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
.columns2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr)); gap: 0 2rem;
  max-width: 68rem; }
figure { margin: 0; max-width: 32rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg rect { fill: var(--bar); }
svg path { stroke: var(--field); fill: none; }
table { border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; max-width: 100%; }
th, td { text-align: right; padding: .15rem .75rem .15rem 0; font-weight: 400; }
th { color: var(--soft); font-size: .8125rem; vertical-align: bottom; }
td { white-space: nowrap; }
td:last-child, th:last-child { padding-right: 0; }
td:first-child, th:first-child, .words { text-align: left; }
td.words { width: 100%; max-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: pre; }
.tok { white-space: pre; background: var(--block); border-radius: 3px; padding: 0 .25rem; }
td .tok { display: inline-block; max-width: 7.5rem; overflow: hidden; text-overflow: ellipsis; vertical-align: bottom; }
ol { list-style: none; margin: 0; padding: 0; max-width: 68rem; }
ol li { display: grid; grid-template-columns: 5.5rem 1fr; gap: .25rem 1rem; padding: .5rem 0; border-top: 1px solid var(--rule); }
ol .at { font-variant-numeric: tabular-nums; }
ol .at small { display: block; color: var(--soft); font-size: .75rem; }
ol .text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.7; }
mark { color: inherit; border-radius: 3px; background: rgb(var(--shade) / calc(var(--a) * var(--most))); padding: .1em 0; }
mark.peak { font-weight: 700; text-decoration: underline; text-underline-offset: .2em; }
kbd { font: .8125rem ui-monospace, Menlo, Consolas, monospace; border: 1px solid var(--field); border-radius: 3px; padding: 0 .3rem; }
@media (max-width: 52rem) {
  html, body { height: auto; }
  header { padding: .75rem 1rem; }
  .panes { display: block; }
  nav { width: auto; border-right: 0; }
  .controls, #found, .columns, .row { padding-left: 1rem; padding-right: 1rem; }
  .columns, .row { grid-template-columns: 3.25rem 5rem 3.5rem 1fr; }
  .row { height: 44px; line-height: 44px; }
  #rows { flex: none; height: max(20rem, calc(100vh - 17rem)); }
  main { padding: 1rem 1rem 3rem; overflow: visible; }
  body.open nav, body.open header { display: none; }
  #back { display: inline-block; }
  button { padding: .55rem .9rem; }
  ol li { grid-template-columns: 1fr; }
  ol .at small { display: inline; margin-left: .5rem; }
}
@media print { nav, .steps { display: none; } html, body { height: auto; } main { overflow: visible; } }
@media (forced-colors: active) { mark { outline: 1px solid; } }
)css";

}  // namespace sae

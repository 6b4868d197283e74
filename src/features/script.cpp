#include "features/page.h"

namespace sae {

// Text from the data is only ever set as text, never as markup. Only the rows in sight exist.
const char* const kFeaturesScript = R"js(
"use strict";
const $ = id => document.getElementById(id);
let index = null;        // what data/index.js says
let shown = [];          // latents of the list, in its order
let cursor = 0;          // position in `shown`
let chosen = -1;         // the latent in the main part
let searched = [];       // text of each latent, in lower case
const chunks = new Map(), waiting = new Map();

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
function drawn(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
const grouped = n => n.toLocaleString("en");
const brief = x => x === 0 ? "0" : Math.abs(x) < .001 || Math.abs(x) >= 1e5 ? x.toExponential(1)
  : x.toFixed(Math.max(0, 2 - Math.floor(Math.log10(Math.abs(x)))));
function share(part, whole) {
  const percent = whole > 0 ? 100 * part / whole : 0;
  return Number(percent.toPrecision(percent < .001 ? 1 : percent < 1 ? 2 : 3)) + " %";
}
const visible = token => token.replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5");
const density = i => index.firings[i] / index.rows;

// ---- the list

const height = () => matchMedia("(max-width: 52rem)").matches ? 44 : 34;

const orders = {
  number: (a, b) => a - b,
  dense: (a, b) => index.firings[b] - index.firings[a],
  rare: (a, b) => index.firings[a] - index.firings[b],
  max: (a, b) => index.max[b] - index.max[a],
  mean: (a, b) => index.mean[b] - index.mean[a],
  nearest: (a, b) => index.nearest[b] - index.nearest[a],
};

function select() {
  const here = shown[cursor];
  const query = $("search").value.trim().toLowerCase();
  const silent = $("silent").checked;
  shown = [];
  for (let i = 0; i < index.firings.length; ++i) {
    if (!silent && index.firings[i] === 0) continue;
    if (query && !String(i).startsWith(query) && !searched[i].includes(query)) continue;
    shown.push(i);
  }
  const order = orders[$("order").value];
  shown.sort((a, b) => order(a, b) || a - b);
  // A number that is typed whole comes first.
  const exact = /^\d+$/.test(query) ? shown.indexOf(Number(query)) : -1;
  if (exact > 0) shown.unshift(shown.splice(exact, 1)[0]);
  cursor = exact >= 0 ? 0 : Math.max(0, shown.indexOf(here));
  $("found").textContent = shown.length === 0 ? "No latent matches." :
    grouped(shown.length) + " of " + grouped(index.firings.length) + " latents";
  $("spacer").style.height = shown.length * height() + "px";
  reveal();
  draw();
  if (chosen >= 0) steps();
}

/// Scrolls as little as needed for the cursor's row to be in sight.
function reveal() {
  const rows = $("rows"), size = height(), top = cursor * size;
  if (top < rows.scrollTop) rows.scrollTop = top;
  if (top + size > rows.scrollTop + rows.clientHeight) rows.scrollTop = top + size - rows.clientHeight;
}

function draw() {
  const rows = $("rows"), size = height();
  const first = Math.max(0, Math.floor(rows.scrollTop / size) - 10);
  const end = Math.min(shown.length, Math.ceil((rows.scrollTop + rows.clientHeight) / size) + 10);
  const drawnRows = [];
  for (let at = first; at < end; ++at) {
    const i = shown[at];
    const words = (index.reads[i] || []).concat(index.words[i].map(word => visible(word.trim()))).join("  ");
    const row = make("div", {role: "option", id: "o" + i, class: at === cursor ? "row cursor" : "row",
        "aria-posinset": at + 1, "aria-setsize": shown.length, "aria-selected": i === chosen},
      make("span", {}, String(i)), make("span", {}, share(index.firings[i], index.rows)),
      make("span", {}, brief(index.max[i])), make("span", {title: words}, words));
    row.style.top = at * size + "px";
    row.addEventListener("click", () => { cursor = at; open(i); });
    drawnRows.push(row);
  }
  $("spacer").replaceChildren(...drawnRows);
  const active = shown[cursor];
  if (active !== undefined && cursor >= first && cursor < end) {
    rows.setAttribute("aria-activedescendant", "o" + active);
  } else {
    rows.removeAttribute("aria-activedescendant");
  }
}

function move(to) {
  cursor = Math.max(0, Math.min(shown.length - 1, to));
  reveal();
  draw();
}

function listKey(event) {
  const page = Math.max(1, Math.floor($("rows").clientHeight / height()) - 1);
  const moves = {ArrowDown: cursor + 1, ArrowUp: cursor - 1, PageDown: cursor + page, PageUp: cursor - page,
    Home: 0, End: shown.length - 1};
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in moves) move(moves[event.key]);
  else if ((event.key === "Enter" || event.key === " ") && shown.length > 0) open(shown[cursor]);
  else return;
  event.preventDefault();
}

// ---- one latent

function open(i) {
  if (location.hash === "#" + i) show();
  else location.hash = "#" + i;  // hashchange shows it, so that Back works
}

function close() {
  document.body.classList.remove("open");  // what is hidden cannot have the focus
  location.hash = "";
  $("rows").focus();
}

function load(number, then) {
  if (chunks.has(number)) return then();
  if (waiting.has(number)) return void waiting.get(number).push(then);
  waiting.set(number, [then]);
  const name = "data/" + String(number).padStart(5, "0") + ".js";
  const script = make("script", {src: name});
  script.onerror = () => { waiting.delete(number); saeMissing(name); };
  document.head.append(script);
}
function saeChunk(number, latents) {
  chunks.set(number, latents);
  const then = waiting.get(number) || [];
  waiting.delete(number);
  for (const call of then) call();
}
function saeMissing(name) {
  $("detail").replaceChildren(make("p", {role: "alert"},
    name + " cannot be loaded. Keep index.html and the folder data together."));
}

function show() {
  const wanted = location.hash.slice(1);
  const was = chosen;
  chosen = /^\d+$/.test(wanted) && Number(wanted) < index.firings.length ? Number(wanted) : -1;
  document.body.classList.toggle("open", chosen >= 0);
  const at = shown.indexOf(chosen);
  if (at >= 0) { cursor = at; reveal(); }
  draw();
  if (chosen < 0) {
    home();
    if (was >= 0) { reveal(); draw(); }
    return;
  }
  const i = chosen;
  load(Math.floor(i / index.chunk), () => {
    if (i !== chosen) return;
    latent(i, chunks.get(Math.floor(i / index.chunk))[i % index.chunk]);
    $("detail").scrollTop = 0;
    if (document.body.scrollHeight > innerHeight) scrollTo(0, 0);
    $("detail").focus({preventScroll: true});
  });
}

function steps() {
  const at = shown.indexOf(chosen);
  const previous = $("previous"), next = $("next");
  if (!previous) return;
  previous.disabled = at <= 0;
  next.disabled = at < 0 || at + 1 >= shown.length;
  previous.onclick = () => open(shown[at - 1]);
  next.onclick = () => open(shown[at + 1]);
}

function facts(pairs) {
  return make("dl", {}, ...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}
function section(title, note, ...content) {
  const parts = [make("h3", {}, title)];
  if (note) parts.push(make("p", {class: "soft"}, note));
  return make("section", {}, ...parts, ...content);
}
function table(head, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map(name => make("th", {scope: "col"}, name)))),
    make("tbody", {}, ...rows.map(cells => make("tr", {}, ...cells.map(cell => make("td", {}, cell))))));
}

/// Bars for `counts`, `w` units wide, on a logarithmic scale from 1; labels below at [place from 0 to 1, text].
function bars(w, counts, labels, name, unit) {
  const h = 190, left = 54, bottom = 24, top = 10;
  const decades = Math.max(1, Math.log10(Math.max(...counts, 1)) + .05);
  const y = n => h - bottom - (n < 1 ? 0 : (Math.log10(n) + .3) / (decades + .3)) * (h - bottom - top);
  const svg = drawn("svg", {viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": name});
  const step = (w - left - 8) / counts.length;
  counts.forEach((n, i) => {
    if (n === 0) return;
    const bar = drawn("rect", {x: (left + i * step + .5).toFixed(1), width: Math.max(1, step - 1).toFixed(1),
      y: y(n).toFixed(1), height: (h - bottom - y(n)).toFixed(1)});
    bar.append(drawn("title", {}, grouped(n) + " " + unit));
    svg.append(bar);
  });
  for (let e = 0; e <= decades; ++e) {
    svg.append(drawn("path", {d: `M${left - 4} ${y(10 ** e).toFixed(1)}H${left}`}),
      drawn("text", {x: left - 8, y: (y(10 ** e) + 4).toFixed(1), "text-anchor": "end"}, grouped(10 ** e)));
  }
  svg.append(drawn("path", {d: `M${left} ${top}V${h - bottom}H${w - 8}`}));
  for (const [place, text] of labels) {
    svg.append(drawn("text", {x: (left + place * (w - left - 8)).toFixed(1), y: h - 6,
      "text-anchor": place > .95 ? "end" : place < .05 ? "start" : "middle"}, text));
  }
  return make("figure", {}, svg);
}

function example(peak, [activation, row, text], note) {
  const at = make("div", {class: "at"}, brief(activation), make("small", {}, note ? note : "row " + grouped(row)));
  const body = make("div", {class: "text"});
  if (text === null) body.append("row " + grouped(row) + " of the store");
  else text.forEach((part, position) => {
    if (typeof part === "string") {
      body.append(visible(position === 0 ? part.trimStart() : part));
    } else {
      const [, blank, token] = part[0].match(/^( *)(.*)$/s);  // a shaded blank could end a line alone
      if (position > 0) body.append(blank);
      const mark = make("mark", {title: brief(part[1]) + " at \u201c" + visible(token) + "\u201d"}, visible(token));
      if (part.length > 2) mark.className = "peak";
      mark.style.setProperty("--a", (.08 + .92 * Math.min(1, part[1] / peak)).toFixed(2));
      body.append(mark);
    }
  });
  return make("li", {}, at, body);
}

function tokensOf(i) {
  return index.words[i].map(word => visible(word.trim())).join(", ");
}

function latent(i, data) {
  const back = make("button", {type: "button", id: "back"}, "All latents");
  back.onclick = close;
  const parts = [make("div", {class: "steps"}, back, make("button", {type: "button", id: "previous"}, "Previous"),
    make("button", {type: "button", id: "next"}, "Next")), make("h2", {}, "Latent " + i)];
  for (const reading of index.reads[i] || []) parts.push(make("p", {}, reading));
  const n = index.firings[i];
  const fires = n > 0 ? [["firings", grouped(n)], ["density", share(n, index.rows)],
    ["largest activation", brief(index.max[i])], ["mean activation", brief(index.mean[i])]]
    : [["firings", "none in " + grouped(index.rows) + " tokens"]];
  parts.push(facts(fires.concat([["decoder norm", brief(data.norm)], ["cosine of encoder and decoder", data.cosine.toFixed(2)]])));
  const grid = make("div", {class: "columns2"});
  if (n > 0) {
    const end = data.histogram.length * data.bin;
    grid.append(section("Activations", "Tokens (logarithmic) by activation.",
      bars(280, data.histogram, [[0, "0"], [.5, brief(end / 2)], [1, brief(end)]],
        `Histogram of ${grouped(n)} activations from 0 to ${brief(index.max[i])}`, "tokens")));
  }
  if (data.tokens.length > 0) {
    grid.append(section("Tokens it fires on", "With the share of the token\u2019s occurrences that it fires on.",
      table(["token", "firings", "share"], data.tokens.map(([token, count, all, exact]) =>
        [make("span", {class: "tok"}, visible(token)), (exact ? "" : "\u2265 ") + grouped(count), (exact ? "" : "\u2265 ") + share(count, all)]))));
  }
  if (data.near.length > 0) {
    grid.append(section("Closest decoder rows", "", table(["latent", "cosine", "fires on"],
      data.near.map(([other, cosine]) => [make("a", {href: "#" + other}, String(other)), cosine.toFixed(2), tokensOf(other)]))));
    for (const cell of grid.lastChild.querySelectorAll("tr > :last-child")) cell.className = "words";
  }
  parts.push(grid);
  if (data.top.length > 0) {
    parts.push(section("Strongest contexts", "At most one from each context; shaded by activation, relative to the largest.",
      make("ol", {}, ...data.top.map(one => example(index.max[i], one)))));
  }
  if (data.samples.length > 0) {
    const q = data.samples.length;
    parts.push(section("From weak to strong", "One firing from each " + (q > 1 ? "1/" + q + " of its activations" : "of its activations") + ".",
      make("ol", {}, ...data.samples.map((one, k) => example(index.max[i], one,
        Math.round(100 * k / q) + " to " + Math.round(100 * (k + 1) / q) + " %")))));
  }
  document.title = "Latent " + i + " \u00b7 " + index.about.title;
  $("detail").replaceChildren(...parts);
  steps();
}

// ---- what is there when no latent is chosen

function home() {
  document.title = index.about.title;
  const count = index.firings.length;
  const above = p => index.firings.filter(n => n / index.rows > p).length;
  const fired = index.firings.filter(n => n > 0);
  const lowest = Math.floor(Math.log10(1 / index.rows));
  const counts = new Array(-lowest * 4).fill(0);
  for (const n of fired) ++counts[Math.min(counts.length - 1, Math.floor((Math.log10(n / index.rows) - lowest) * 4))];
  const labels = [];
  for (let e = lowest; e <= 0; ++e) labels.push([(e - lowest) / -lowest, share(10 ** e, 1)]);
  const keys = make("p", {class: "soft"});
  [["/", "search"], ["\u2191 \u2193", "move in the list"], ["Enter", "open"], ["[ ]", "previous, next"], ["Esc", "back to the list"]]
    .forEach(([key, does], at) => keys.append(at ? " \u00b7 " : "", make("kbd", {}, key), " " + does));
  $("detail").replaceChildren(make("h2", {}, "All latents"),
    facts([["latents", grouped(count)], ["silent", grouped(count - fired.length)],
      ["fire on more than 1 %", grouped(above(.01))], ["on more than 10 %", grouped(above(.1))],
      ["mean number active", brief(index.firings.reduce((a, b) => a + b, 0) / index.rows)],
      ["tokens read", grouped(index.rows)]]),
    section("Density", "Latents (logarithmic) by the share of tokens that they fire on.",
      bars(480, counts, labels.filter((_, at) => at % Math.ceil(labels.length / 6) === 0), "Histogram of densities", "latents")),
    section("Keys", "", keys));
}

function saeIndex(data) {
  index = data;
  index.words.forEach((words, i) => searched.push(words.concat(index.reads[i] || []).join(" ").toLowerCase()));
  $("title").textContent = index.about.title;
  $("about").textContent = index.about.text;
  $("missing").textContent = index.about.missing;
  $("missing").hidden = index.about.missing === "";
  $("search").oninput = $("order").onchange = $("silent").onchange = () => { $("rows").scrollTop = 0; select(); };
  $("rows").addEventListener("scroll", draw, {passive: true});
  $("rows").addEventListener("keydown", listKey);
  $("search").addEventListener("keydown", event => {
    if (event.key === "ArrowDown" || event.key === "Enter") { event.preventDefault(); $("rows").focus(); }
  });
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select")) return;
    if (event.key === "/") { event.preventDefault(); if (document.body.classList.contains("open")) close(); $("search").focus(); }
    if (event.key === "Escape" && chosen >= 0) {
      if (matchMedia("(max-width: 52rem)").matches) close(); else $("rows").focus();
    }
    if (event.key === "[" && $("previous")) $("previous").click();
    if (event.key === "]" && $("next")) $("next").click();
  });
  addEventListener("resize", () => { $("spacer").style.height = shown.length * height() + "px"; reveal(); draw(); });
  addEventListener("hashchange", show);
  select();
  show();
}
)js";

}  // namespace sae

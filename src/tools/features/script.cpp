#include "tools/features/page.h"

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
  return Number(percent.toPrecision(percent < .001 ? 1 : percent < 1 ? 2 : 3)) + "\u00a0%";
}
const visible = token => token.replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5");
const readingsOf = i => (index.reads[i] || []).map(parts => parts.join(""));
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
    const words = readingsOf(i).concat(index.words[i].map(word => visible(word.trim()))).join("  ");
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

function saeIndex(data) {
  index = data;
  index.words.forEach((words, i) => searched.push(words.concat(readingsOf(i)).join(" ").toLowerCase()));
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

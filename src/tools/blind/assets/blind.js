"use strict";
const $ = id => document.getElementById(id);
const items = JSON.parse($("items").textContent), practice = JSON.parse($("practice").textContent);
const sha256 = document.body.dataset.sha256, place = "sae-blind-" + sha256;
const count = (n, what) => n.toLocaleString("en") + " " + what + (n === 1 ? "" : "s");

// ---- what is kept: who answers, how much of the practice is done, and the answers by id

let state = {rater: "", practised: 0, answers: {}};
let keeps = true;   // whether this browser does
let saved = -1;     // answers in the last file

function keep() {
  try {
    localStorage.setItem(place, JSON.stringify(state));
  } catch (error) {
    keeps = false;
  }
}

function recall() {
  try {
    const found = JSON.parse(localStorage.getItem(place));
    if (found && typeof found.rater === "string" && found.answers && found.practised >= 0) state = found;
  } catch (error) {
    keeps = false;
  }
}

const answered = () => items.filter(item => item.id in state.answers).length;

function save() {
  const given = items.filter(item => item.id in state.answers);
  const answers = given.map(({id}) => ({id, choice: state.answers[id].choice, ms: state.answers[id].ms}));
  const file = {format: "sae-blind-answers", version: 1, sha256, rater: state.rater, answers};
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1) + "\n"], {type: "application/json"}));
  link.download = "answers-" + state.rater.replace(/[^\p{L}\p{N}_-]+/gu, "-") + ".json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  saved = answers.length;
  tell();
}

function tell() {
  const n = answered();
  const where = keeps ? "kept in this browser" : "not kept by this browser: save before you close the page";
  $("kept").textContent = n === 0 ? "" : count(n, "answer") + (n === saved ? " saved." : ", " + where + ".");
  $("save_now").hidden = n === 0 || n === saved || !$("end").hidden;
}

// ---- time, while the page is in sight

let spent = 0, since = 0;
function restart() {
  spent = 0;
  since = performance.now();
}
const elapsed = () => Math.round(spent + (document.hidden ? 0 : performance.now() - since));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) spent += performance.now() - since;
  else since = performance.now();
});

// ---- what is shown: the start, an item for practice, an item, or the end

let at = 0;            // position in items
let tried = null;      // the choice in the practice item that is shown
const practising = () => state.practised < practice.length;

function reveal(id) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
  tell();
}

/// Line ends are shown, and blanks that are marked.
const visible = text => text.replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5");
function words(parts) {
  const body = document.createElement("span");
  body.className = "words";
  body.dir = "auto";
  parts.forEach((part, i) => {
    if (i % 2 === 0) return body.append(visible(i === 0 ? part.trimStart() : part));
    const mark = document.createElement("mark");
    mark.textContent = part.trim() === "" ? part.replace(/ /g, "\u2423").replace(/\n/g, "\u21b5") : visible(part);
    body.append(mark);
  });
  return body;
}

function textButton(parts, number) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-keyshortcuts", number);
  const key = document.createElement("kbd");
  key.textContent = number;
  button.append(key, words(parts));
  button.addEventListener("click", event => { if (event.detail < 2) choose(number); });  // no double click
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}

function press(choice) {
  [$("unsure"), ...$("texts").querySelectorAll("button")].forEach((button, number) =>
    button.setAttribute("aria-pressed", number === choice));
}

function showItem() {
  const item = practising() ? practice[state.practised] : items[at];
  $("progress").textContent = practising() ? `Practice ${state.practised + 1} of ${practice.length}`
    : `${at + 1} of ${items.length}`;
  $("share").max = items.length;
  $("share").value = answered();
  $("texts").replaceChildren(...item.texts.map((parts, i) => textButton(parts, i + 1)));
  $("feedback").replaceChildren();
  tried = null;
  const before = practising() ? undefined : state.answers[item.id];
  press(before ? before.choice : -1);
  $("unsure").hidden = false;
  $("back").hidden = practising() || at === 0;
  $("next").hidden = before === undefined;
  reveal("task");
  scrollTo(0, 0);
  $("progress").focus({preventScroll: true});
  restart();
}

function showEnd() {
  reveal("end");
  scrollTo(0, 0);
  $("thanks").focus({preventScroll: true});
}

function show() {
  if (state.rater === "") reveal("start");
  else if (!practising() && at === items.length) showEnd();
  else showItem();
}

// ---- what people do

function begin() {
  state.rater = $("rater").value.trim() || "rater-" + Math.random().toString(36).slice(2, 6);
  keep();
  show();
}

function choose(choice) {
  if (practising()) return tried === null ? practise(choice) : undefined;
  const id = items[at].id, before = state.answers[id];
  state.answers[id] = {choice, ms: elapsed() + (before ? before.ms : 0)};
  keep();
  ++at;
  show();
}

function practise(choice) {
  const item = practice[state.practised], right = choice === item.answer;
  tried = choice;
  press(choice);
  $("texts").querySelectorAll("button")[item.answer - 1].classList.add("answer");
  for (const button of $("texts").querySelectorAll("button")) button.disabled = true;
  $("unsure").hidden = true;
  const shared = document.createElement("mark");
  shared.textContent = visible(item.shared.trim());
  const line = document.createElement("p");
  line.append((right ? "Yes: " : choice === 0 ? "" : "No: ") + `text ${item.answer} is the intruder. In the others it is `, shared,
    " that is marked.");
  const onward = document.createElement("button");
  onward.type = "button";
  onward.id = "onward";
  onward.className = "main";
  onward.textContent = state.practised + 1 < practice.length ? "Go on" : "Go on: now without answers";
  onward.addEventListener("click", () => {
    ++state.practised;
    keep();
    show();
  });
  $("feedback").replaceChildren(line, onward);
  onward.focus();
}

function step(by) {
  if ($("task").hidden || practising() || at + by < 0) return;
  if (by > 0 && !(items[at].id in state.answers)) return;
  at += by;
  show();
}

function again() {
  const n = answered();
  if (n !== saved && !confirm(`Delete ${count(n, "answer")} that are not saved?`)) return;
  state = {rater: "", practised: 0, answers: {}};
  at = 0;
  saved = -1;
  keep();
  $("rater").value = "";
  show();
}

$("begin").addEventListener("click", begin);
$("rater").addEventListener("keydown", event => { if (event.key === "Enter") begin(); });
$("unsure").addEventListener("click", event => { if (event.detail < 2) choose(0); });
$("back").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("review").addEventListener("click", () => { at = items.length - 1; show(); });
$("save").addEventListener("click", save);
$("save_now").addEventListener("click", save);
$("again").addEventListener("click", again);
document.addEventListener("keydown", event => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input") || $("task").hidden) return;
  if (/^[0-5]$/.test(event.key)) choose(Number(event.key));
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});

$("sha256").textContent = sha256;
$("begin").textContent = practice.length > 0 ? `Begin with ${practice.length} for practice, then ${items.length}` : `Begin with ${items.length}`;
recall();
at = items.findIndex(item => !(item.id in state.answers));
if (at < 0) at = items.length;
show();

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
  (text || []).forEach((part, position) => {
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

/// Numbers are latents.
function reading(parts) {
  return make("li", {}, ...parts.map(part => typeof part === "number" ? make("a", {href: "#" + part}, String(part)) : part));
}

function latent(i, data) {
  const back = make("button", {type: "button", id: "back"}, "All latents");
  back.onclick = leave;
  const parts = [make("div", {class: "steps"}, back, make("button", {type: "button", id: "previous"}, "Previous"),
    make("button", {type: "button", id: "next"}, "Next")), make("h2", {}, "Latent " + i)];
  if (index.reads[i]) parts.push(make("ul", {class: "reads"}, ...index.reads[i].map(reading)));
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
        [make("span", {class: "tok", title: visible(token)}, visible(token)),
         (exact ? "" : "\u2265 ") + grouped(count), (exact ? "" : "\u2265 ") + share(count, all)]))));
  }
  if (data.near.length > 0) {
    grid.append(section("Closest decoder rows", "", table(["latent", "cosine", "fires on"],
      data.near.map(([other, cosine]) => [make("a", {href: "#" + other}, String(other)), cosine.toFixed(2), tokensOf(other)]))));
    for (const cell of grid.lastChild.querySelectorAll("tr > :last-child")) {
      cell.className = "words";
      cell.title = cell.textContent;
    }
  }
  if (data.logits) {
    const side = list => table(["token", "logit"], list.map(([token, value]) =>
      [make("span", {class: "tok", title: visible(token)}, visible(token)), brief(value)]));
    grid.append(section("Makes likelier", "Next tokens, by the logits of its decoder row.", side(data.logits.up)),
      section("Makes less likely", "The same, lowest first.", side(data.logits.down)));
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
    ...readings(), section("Keys", "", keys));
}

/// What the readings say, to search for; nothing without any.
function readings() {
  const kinds = [[": main latent", "Main latents of classes"], [": absorbs it", "Absorbers"],
    [": best single latent", "Best single latents of tasks"]];
  const numbers = Object.keys(index.reads).map(Number);
  const found = make("div", {class: "found"});
  for (const [phrase, name] of kinds) {
    const count = numbers.filter(i => readingsOf(i).some(text => text.includes(phrase))).length;
    if (count === 0) continue;
    const button = make("button", {type: "button"}, name + " (" + grouped(count) + ")");
    button.onclick = () => {
      $("search").value = phrase;
      $("search").oninput();
      $("rows").focus();
    };
    found.append(button);
  }
  return numbers.length ? [section("Readings", "What evaluations found that latents stand for.", found)] : [];
}

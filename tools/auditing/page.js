"use strict";
// Everything shown comes from the log and may be hostile: it becomes text, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const list = document.getElementById("rows");
const find = document.getElementById("find");
const writes = document.getElementById("writes");
const chosen = document.getElementById("chosen");
const ROUTING = "branch:to:", LANE = 14, MOST_LANES = 8, HEIGHT = 42;
let shown = [], current = -1;

// Characters that change the direction or the lines of what is around them are shown as what they are.
const visible = (text) => String(text).replace(
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/g,
  (c, at, all) => {
    const code = c.charCodeAt(0);
    const paired = (code >= 0xd800 && code < 0xdc00 && /[\udc00-\udfff]/.test(all[at + 1] || "")) ||
      (code >= 0xdc00 && code < 0xe000 && /[\ud800-\udbff]/.test(all[at - 1] || ""));
    return paired ? c : "\\u" + code.toString(16).padStart(4, "0");
  });

function make(tag, text, classes) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = visible(text);
  if (classes) element.className = classes;
  return element;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const colour = (lane) => "c" + (lane % 8);

// Which lanes go through each row: from a lane's first checkpoint, or where it leaves another, to its last; and in which
// column each is drawn: the first that is free, since most namespaces of subgraphs end soon.
function lanes() {
  const until = new Map(), begun = new Map(), column = new Map(), through = rows.map(() => []), free = [];
  rows.forEach((row, at) => {
    if (row.lane === undefined) return;
    until.set(row.lane, at);
    if (!begun.has(row.lane)) begun.set(row.lane, at);
    if (begun.has(row.from) && row.from !== row.lane) until.set(row.from, Math.max(at, until.get(row.from)));
  });
  for (const [lane, first] of begun) {
    let place = free.findIndex((last) => last < first);
    if (place < 0) place = free.length;
    free[place] = until.get(lane);
    column.set(lane, place);
    for (let at = first; at <= until.get(lane); at++) through[at].push(lane);
  }
  return { until, begun, column, through, count: free.length };
}
const drawn = lanes();
const place = (lane) => LANE * (Math.min(drawn.column.get(lane), MOST_LANES - 1) + .7);
const width = LANE * (Math.min(MOST_LANES, Math.max(1, drawn.count)) + .6);

function gutter(row, at) {
  const picture = svg("svg", { width, viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const line = (lane, from, to) => picture.append(
    svg("path", { class: "lane " + colour(lane), d: `M${place(lane)} ${from}V${to}` }));
  for (const lane of drawn.through[at]) {
    const first = drawn.begun.get(lane), last = drawn.until.get(lane);
    if (at > first && at < last) line(lane, 0, HEIGHT);
    else if (at === first && at < last) line(lane, HEIGHT / 2, HEIGHT);
    else if (at === last && at > first && row.lane === lane) line(lane, 0, HEIGHT / 2);
  }
  if (row.lane !== undefined) {
    if (drawn.begun.has(row.from) && row.from !== row.lane) picture.append(svg("path", {
      class: "lane " + colour(row.lane), d: `M${place(row.from)} 0L${place(row.lane)} ${HEIGHT / 2}` }));
    picture.append(svg("circle", { class: "dot " + colour(row.lane), cx: place(row.lane), cy: HEIGHT / 2, r: 5 }));
  }
  return picture;
}

function headline(row) {
  const said = [row.kind];
  if (row.step !== undefined) said.push("step " + row.step);
  if (row.source) said.push(row.source);
  if (row.nodes) said.push(row.nodes.join(", "));
  if (row.fork && row.source !== "fork") said.push("fork");
  if (row.copied) said.push("copied " + row.copied);
  if (row.gone) said.push(row.gone);
  return said.join(" \u00b7 ");
}

function subline(row) {
  const said = ["#" + row.position];
  if (row.recorded_at) said.push(row.recorded_at.slice(0, 19).replace("T", " "));
  if (row.checkpoint_ns) said.push(row.checkpoint_ns);
  const channels = (row.changes || []).map((change) => change.channel).filter((name) => !name.startsWith(ROUTING));
  if (channels.length) said.push([...new Set(channels)].join(", "));
  if (row.problem) said.push("! " + row.problem);
  return said.join("  ");
}

function draw() {
  const wanted = find.value.toLowerCase();
  const before = shown[current];
  shown = [];
  list.replaceChildren();
  rows.forEach((row, at) => {
    if (row.kind === "put_writes" && !writes.checked) return;
    if (wanted && !searched(row).includes(wanted)) return;
    const item = make("li", undefined, "row" + (row.gone ? " gone" : ""));
    item.id = "row-" + at;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    const what = make("div", undefined, "what");
    what.append(make("div", headline(row)), make("div", subline(row), "small"));
    item.append(gutter(row, at), what);
    const index = shown.length;
    item.addEventListener("click", () => choose(index));
    shown.push(at);
    list.append(item);
  });
  document.getElementById("count").textContent = `${shown.length} of ${rows.length} events`;
  const again = shown.indexOf(before);
  current = -1;
  choose(again >= 0 ? again : shown.length - 1);
}

const texts = new Map();
function searched(row) {
  if (!texts.has(row)) {
    const held = Object.values(row.state || {}).flatMap((value) => value.slice(1).map((one) => pooled(one)[1]));
    texts.set(row, (JSON.stringify({ ...row, state: undefined }) + "\n" + held.join("\n")).toLowerCase());
  }
  return texts.get(row);
}

const pooled = (one) => data.pool[Array.isArray(one) ? one[1] : one];

function choose(index) {
  if (index < 0 || index >= shown.length) {
    if (!shown.length) chosen.replaceChildren(make("p", "No event is like this."));
    return;
  }
  if (current >= 0) list.children[current].setAttribute("aria-selected", "false");
  current = index;
  const item = list.children[index];
  item.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", item.id);
  item.scrollIntoView({ block: "nearest" });
  explain(rows[shown[index]]);
}

function explain(row) {
  const made = [make("h2", `Event ${row.position}: ${headline(row)}`)];
  if (row.problem) made.push(make("p", row.problem, "problem"));
  const facts = make("dl");
  const names = { recorded_at: "recorded", checkpoint_ns: "namespace", checkpoint_id: "checkpoint", parent_id: "parent",
    run_id: "run", task_id: "task", copied: "copied", size: "bytes" };
  for (const [name, label] of Object.entries(names)) {
    if (row[name] !== undefined && row[name] !== null && row[name] !== "") facts.append(make("dt", label), make("dd", row[name]));
  }
  for (const [name, value] of Object.entries(row.details || {})) facts.append(make("dt", name), make("dd", value));
  made.push(facts, ...changes(row), ...state(row));
  chosen.replaceChildren(...made);
  chosen.scrollTop = 0;
}

function changes(row) {
  if (!(row.changes || []).length && !row.carried) return [];
  const made = [make("h2", row.kind === "put_writes" ? "What was written" : "What changed")];
  for (const change of row.changes || []) {
    if (change.channel.startsWith(ROUTING)) continue;
    made.push(make("h3", `${change.channel}: ${change.how}`));
    if (change.removed > 0) made.push(make("p", `${change.removed} removed at ${change.at}`));
    for (const value of change.added || []) made.push(make("div", value, "value added"));
    for (const [key, value] of Object.entries(change.set || {})) made.push(make("div", `${key} = ${value}`, "value added"));
    if (Array.isArray(change.removed)) for (const key of change.removed) made.push(make("div", key, "value removed"));
    if (change.before !== undefined) made.push(make("div", change.before, "value removed"));
    if (change.value !== undefined) made.push(make("div", change.value, "value added"));
  }
  if (row.carried) made.push(make("p", "carried: " + row.carried.join(", "), "small"));
  return made;
}

function state(row) {
  if (row.kind !== "put" && row.kind !== "restate") return [];
  const made = [make("h2", "State after this step")];
  if (!row.state) return [...made, make("p", "Not on this page.", "small")];
  const changed = new Set((row.changes || []).map((change) => change.channel));
  for (const [name, value] of Object.entries(row.state)) {
    if (name.startsWith(ROUTING)) continue;
    made.push(make("h3", name + (changed.has(name) ? " (changed)" : "")));
    for (const one of value.slice(1)) {
      const [what, text] = pooled(one);
      const box = make("div", undefined, "value" + (what === "json" ? " json" : ""));
      if (Array.isArray(one)) box.append(make("span", one[0] + ": ", "who"));
      else if (what !== "json" && what !== "text" && what !== "more") box.append(make("span", what + ": ", "who"));
      box.append(make("span", text));
      made.push(box);
    }
  }
  return made;
}

const moves = { ArrowDown: () => current + 1, ArrowUp: () => current - 1, j: () => current + 1, k: () => current - 1,
  Home: () => 0, End: () => shown.length - 1, PageDown: () => Math.min(current + 10, shown.length - 1),
  PageUp: () => Math.max(current - 10, 0) };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === find) {
    if (event.key === "Escape") { find.value = ""; draw(); list.focus(); }
    if (event.key === "Enter") list.focus();
    return;
  }
  if (event.key === "/") { find.focus(); }
  else if (event.key === "w") { writes.checked = !writes.checked; draw(); }
  else if (moves[event.key]) { choose(moves[event.key]()); list.focus(); }
  else return;
  event.preventDefault();
});
find.addEventListener("input", draw);
writes.addEventListener("change", draw);

document.getElementById("title").textContent = visible(data.thread);
document.getElementById("summary").textContent =
  `${rows.length} events of this thread, up to event ${data.head} of the log; written ${data.made.replace("T", " ")}`;
if (data.left_out.length) {
  const note = document.getElementById("left-out");
  note.textContent = "Too much for one page. Left out: " + data.left_out.join("; ") + ". The command audit shows everything.";
  note.hidden = false;
}
draw();
list.focus();

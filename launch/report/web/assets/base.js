// What every part of the page uses: the data, what a person has chosen, elements, figures.

let data = null; // what the page shows (launch/report/web/payload.py)
let byName = new Map(); // runs
const chosen = new Map(); // names of runs whose curves are drawn, each with its place among the looks
const parts = []; // functions that show `data` anew

// Okabe and Ito's palette, told apart with any colour vision; dashes tell more lines apart, and hatches bars.
const COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a7c00"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const HATCHES = ["", "/", ".", "x", "\\", "+", "-", "|"];

function byId(id) {
  return document.getElementById(id);
}

// An element with attributes and children; texts become text, never markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function isolated(text) {
  return element("bdi", {}, text);
}

function figure(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

// With so many digits that neighbours differ, and no more.
function brief(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en");
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(5)));
}

function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
}

function hours(seconds) {
  const value = seconds / 3600;
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(value >= 0.01 || value === 0 ? 2 : 4);
}

function lasting(seconds) {
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  if (seconds < 6000) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 360000 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}

function moment(seconds) {
  const when = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
  return `${day} ${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
}

function total(values) {
  return values.reduce((sum, value) => sum + value, 0);
}

function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function shorter(text, longest) {
  return text.length <= longest ? text : `${text.slice(0, Math.ceil(longest * 0.7))}…${text.slice(-Math.floor(longest * 0.25))}`;
}

// Text for the chart library, which reads a little markup: as it is, in one line, in its own direction.
function plain(text, longest = 60) {
  const printed = String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "\ufffd");
  return shorter(printed, longest).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// Fills a select, whose choice stays where it can.
function offer(select, pairs, wanted) {
  const kept = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, shorter(text, 90))));
  const values = pairs.map(([value]) => value);
  select.value = values.includes(kept) && kept !== "" ? kept : values.includes(wanted) ? wanted : (values[0] ?? "");
}

function runOffers() {
  const digits = (name) => /-([0-9a-f]{8})$/.exec(name)?.[1] ?? name;
  return data.runs.map((run, place) => [run.name, `#${place + 1}  ${run.label}${run.label === run.name ? "" : `  (${digits(run.name)})`}`]);
}

function rows(body, lines) {
  body.replaceChildren(...lines.map((cells) => element("tr", {}, cells.map((cell) => (cell instanceof Node ? cell : element("td", {}, String(cell)))))));
}

function numeric(text) {
  return element("td", { class: "number" }, text);
}

// A table of heads and rows, of which numbers are cells of their own kind already.
function fill(table, heads, lines) {
  const body = element("tbody");
  rows(body, lines);
  const numbers = (column) => lines.length > 0 && lines[0][column]?.className === "number";
  const head = element("tr", {}, heads.map((text, column) => element("th", { scope: "col", class: numbers(column) ? "number" : null }, text)));
  table.replaceChildren(element("thead", {}, head), body);
}

// A run's colour and dash, its own for as long as it is chosen.
function look(name) {
  const place = chosen.get(name) ?? 0;
  return { color: COLORS[place % COLORS.length], dash: DASHES[Math.floor(place / COLORS.length) % DASHES.length] };
}

function choose(names) {
  for (const name of [...chosen.keys()]) if (!names.includes(name)) chosen.delete(name);
  for (const name of names) {
    if (chosen.has(name) || !byName.has(name)) continue;
    const taken = new Set(chosen.values());
    let place = 0;
    while (taken.has(place)) place += 1;
    chosen.set(name, place);
  }
}

function measured(run) {
  return data.measure ? (run.scores[data.measure] ?? null) : run.loss;
}

function measureName() {
  return data.measure ? `mAP (${data.measure})` : "loss";
}

function setting(run, key) {
  return run.settings[key] ?? data.shared[key] ?? "–";
}

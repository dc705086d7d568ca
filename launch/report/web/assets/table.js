// The table of runs: columns, filter, order, choice.

const order = { key: "rank", down: false };
const hidden = new Map(); // by a column's key, whether a person hid it (true) or showed it (false)
const rowsMade = new Map(); // by a run's name, its row, for as long as the columns stay
let rowsOf = ""; // which columns they have
let shownRuns = []; // those that pass the filter, in the table's order

// All columns: their values, and how they are shown.
function columns() {
  const number = (key, title, value, show, hide = false) => ({ key, title, value, show: (run) => show(value(run)), numeric: true, hide });
  const text = (key, title, value, hide = false) => ({ key, title, value, show: value, numeric: false, hide });
  const place = new Map(data.runs.map((run, index) => [run.name, index + 1]));
  const scores = [...new Set(data.runs.flatMap((run) => Object.keys(run.scores)))].sort((a, b) => (b === data.measure) - (a === data.measure) || (a < b ? -1 : 1));
  const beside = [...new Set(data.runs.flatMap((run) => Object.keys(run.beside)))].sort();
  const differing = [...new Set(data.runs.flatMap((run) => Object.keys(run.settings)))].sort();
  const settings = [...data.axes, ...differing.filter((key) => !data.axes.includes(key))];
  return [
    number("rank", "#", (run) => place.get(run.name), (value) => String(value)),
    text("run", "run", (run) => run.name),
    text("state", "state", (run) => run.state),
    ...scores.map((key) => number(`mAP ${key}`, `mAP (${key})`, (run) => run.scores[key] ?? null, (value) => figure(value, 2))),
    ...settings.map((key) => ({ ...text(key, key, (run) => setting(run, key), !data.axes.includes(key)), numeric: data.runs.every((run) => /^(–|-?[\d.]+(e[-+]?\d+)?)$/i.test(setting(run, key))) })),
    ...beside.map((key) => number(key, key, (run) => run.beside[key] ?? null, (value) => figure(value, 2), true)),
    number("loss", "loss", (run) => run.loss, (value) => figure(value, 4)),
    { ...number("steps", "steps", (run) => run.step, brief), show: (run) => (run.total ? `${run.step.toLocaleString("en")} of ${run.total.toLocaleString("en")}` : String(run.step)) },
    number("attempts", "attempts", (run) => run.attempts.length, (value) => String(value)),
    number("goodput", "goodput", (run) => (run.goodput === null ? null : 100 * run.goodput), (value) => (value === null ? "–" : `${value.toFixed(1)} %`)),
    number("again", "steps again", (run) => run.repeated, (value) => value.toLocaleString("en")),
    number("waited", "waited, h", (run) => total(run.waits) / 3600, (value) => hours(value * 3600)),
    number("hours", "GPU-hours", (run) => run.seconds / 3600, (value) => hours(value * 3600)),
    number("lines", "log lines", (run) => run.lines, (value) => value.toLocaleString("en"), true),
    text("code", "code", (run) => run.code || "–", true),
    text("path", "folder", (run) => run.path, true),
  ];
}

function isShown(column) {
  return !(hidden.get(column.key) ?? column.hide);
}

function asFigure(value) {
  if (typeof value === "number") return value;
  const found = /^-?[\d.]+(e[-+]?\d+)?$/i.test(value ?? "") ? Number(value) : NaN;
  return Number.isNaN(found) ? null : found;
}

// Numbers before texts before what is missing, which is last in either direction.
function inOrder(column, down) {
  return (a, b) => {
    const [left, right] = [column.value(a), column.value(b)];
    const [x, y] = [asFigure(left), asFigure(right)];
    const missing = (value) => value === null || value === undefined || value === "–";
    if (missing(left) || missing(right)) return missing(left) - missing(right);
    const found = x !== null && y !== null ? x - y : x !== null ? -1 : y !== null ? 1 : String(left) < String(right) ? -1 : String(left) > String(right) ? 1 : 0;
    return down ? -found : found;
  };
}

// What a filter lets pass: every word of it, each a text that is somewhere in the run, or KEY=VALUE, !=, <, <=, >, >=.
function passes(text, all) {
  const tests = (text.match(/"[^"]*"|\S+/g) ?? []).map((word) => {
    const [, key, sign, wanted] = /^([^=<>!]+)(!=|<=|>=|=|<|>)(.*)$/.exec(word) ?? [];
    const column = key && all.find((one) => one.key === key || one.title === key || one.key.split(".").pop() === key);
    const sought = word.replace(/"/g, "").toLowerCase();
    if (!column) return (run) => `${run.name} ${run.label} ${run.state} ${Object.entries(run.settings).map(([one, value]) => `${one}=${value}`).join(" ")}`.toLowerCase().includes(sought);
    return (run) => {
      const value = column.value(run);
      const [x, y] = [asFigure(value), asFigure(wanted)];
      if (sign === "=" || sign === "!=") return (x !== null && y !== null ? x === y : String(value) === wanted) === (sign === "=");
      return x !== null && y !== null && { "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y }[sign];
    };
  });
  return (run) => tests.every((test) => test(run));
}

function showTable(why) {
  if (why === "theme") return;
  const all = columns();
  const states = [...new Set(data.runs.map((run) => run.state))].sort();
  if (why !== "filter") {
    offer(byId("state"), [["", "all"], ...states.map((state) => [state, state])], "");
    byId("column-list").replaceChildren(...all.map((column) => element("label", {}, element("input", { type: "checkbox", checked: isShown(column), "data-column": column.key }), isolated(shorter(column.title, 60)))));
  }
  const column = all.find((one) => one.key === order.key) ?? all[0];
  const state = byId("state").value;
  const test = passes(byId("filter").value, all);
  shownRuns = data.runs.filter((run) => (!state || run.state === state) && test(run)).sort(inOrder(column, order.down));
  const shown = all.filter(isShown);
  const which = shown.map((one) => one.key).join("\n");
  if (why !== "filter" || which !== rowsOf) rowsMade.clear();
  rowsOf = which;
  const focused = document.activeElement?.dataset?.focus;
  byId("runs").tHead.replaceChildren(element("tr", {}, element("th", { scope: "col", class: "pick" }, element("span", { class: "hidden" }, "drawn")), shown.map((one) => headOf(one))));
  byId("runs").tBodies[0].replaceChildren(...shownRuns.map((run) => rowOf(run, shown)));
  if (focused) document.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  byId("count").textContent = `${shownRuns.length === data.runs.length ? "All" : `${shownRuns.length.toLocaleString("en")} of`} ${count(data.runs.length, "run")}${shownRuns.length === data.runs.length ? "" : " pass the filter"}; curves are drawn of ${chosen.size}.`;
}

function headOf(column) {
  const sorted = order.key === column.key ? (order.down ? "descending" : "ascending") : "none";
  const mark = element("span", { class: "mark", "aria-hidden": "true" }, sorted === "none" ? "" : order.down ? "▼" : "▲");
  const button = element("button", { type: "button", "data-sort": column.key, "data-focus": `sort ${column.key}`, title: column.title }, isolated(shorter(column.title, 32)), mark);
  return element("th", { scope: "col", "aria-sort": sorted, class: `${column.numeric ? "number" : ""}${column.key === "run" ? " name" : ""}` }, button);
}

function rowOf(run, shown) {
  if (!rowsMade.has(run.name)) rowsMade.set(run.name, newRow(run, shown));
  const row = rowsMade.get(run.name);
  const box = row.querySelector("input");
  box.checked = chosen.has(run.name);
  box.style.accentColor = box.checked ? look(run.name).color : "";
  row.classList.toggle("chosen", box.checked);
  return row;
}

function newRow(run, shown) {
  const box = element("input", { type: "checkbox", "data-run": run.name, "data-focus": `run ${run.name}`, "aria-label": `draw ${shorter(run.name, 80)}` });
  return element("tr", {}, element("td", { class: "pick" }, box), shown.map((column) => {
    const text = String(column.show(run));
    if (column.key === "run") return element("th", { scope: "row", class: "name" }, element("button", { type: "button", class: "link", "data-open": run.name, "data-focus": `open ${run.name}`, title: shorter(text, 300) }, shorter(text, 200)));
    if (column.key === "state") return element("td", {}, element("span", { class: `state ${["finished", "running"].includes(text) ? text : "other"}` }, shorter(text, 60)));
    return element("td", { class: column.numeric ? "number" : null, title: text.length > 40 ? shorter(text, 300) : null }, shorter(text, 120));
  }));
}

// What is shown, as CSV; a text that a spreadsheet would take for a formula is quoted from it.
function asCsv() {
  const shown = columns().filter(isShown);
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : typeof value === "string" && /^[=+@\t\r-]/.test(value) && asFigure(value) === null && value !== "–" ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [shown.map((column) => cell(column.title)), ...shownRuns.map((run) => shown.map((column) => cell(column.value(run))))].map((line) => line.join(",")).join("\n") + "\n";
}

async function copyTable() {
  const text = asCsv();
  const button = byId("copy");
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a file that was opened from disk may have no clipboard of this kind
    const area = element("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = `${count(shownRuns.length, "run")} copied`;
  setTimeout(() => (button.textContent = "Copy as CSV"), 2000);
}

function changed() {
  showTable("filter");
  showCurves();
}

function listenToTable() {
  let pause = null;
  byId("filter").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(filtered, 120);
  });
  byId("state").addEventListener("change", filtered);
  byId("copy").addEventListener("click", copyTable);
  byId("column-list").addEventListener("change", (event) => {
    hidden.set(event.target.dataset.column, !event.target.checked);
    showTable("filter");
  });
  byId("choosing").addEventListener("click", (event) => {
    const which = event.target.dataset?.choose;
    if (!which) return;
    choose({ best: best(), shown: shownRuns.slice(0, 40).map((run) => run.name), none: [] }[which]);
    changed();
  });
  byId("runs").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.sort) {
      order.down = order.key === button.dataset.sort ? !order.down : /^(mAP|goodput|attempts|again|waited|hours)/.test(button.dataset.sort);
      order.key = button.dataset.sort;
      showTable("filter");
      showTimeLine();
    } else if (button?.dataset.open) openRun(button.dataset.open);
  });
  byId("runs").addEventListener("change", (event) => {
    const name = event.target.dataset.run;
    if (name) choose(event.target.checked ? [...chosen.keys(), name] : [...chosen.keys()].filter((other) => other !== name));
    changed();
  });
}

function filtered() {
  showTable("filter");
  showParallel();
  showTimeLine();
}

function best() {
  return data.runs.filter((run) => run.lines > 0).slice(0, 5).map((run) => run.name);
}
parts.push(showTable);

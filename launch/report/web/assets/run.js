// One run: its settings, how it differs from its neighbours, its attempts and their last words, where its files are.

function openRun(name) {
  byId("which").value = name;
  showRun();
  byId("run").scrollIntoView({ block: "start" });
  byId("which").focus({ preventScroll: true });
}

function matters(key) {
  return !data.outside.some((outside) => key === outside || key.startsWith(`${outside}.`));
}

// Other runs by how few settings differ, the nearest first.
function neighbours(run) {
  const others = data.runs.filter((other) => other !== run && (Object.keys(other.settings).length || data.runs.length < 2));
  const found = others.map((other) => {
    const keys = [...new Set([...Object.keys(run.settings), ...Object.keys(other.settings)])].filter((key) => matters(key) && setting(run, key) !== setting(other, key)).sort();
    return { other, keys };
  });
  return found.sort((a, b) => a.keys.length - b.keys.length).slice(0, 6);
}

function showRun(why) {
  if (why === "theme") return;
  if (why === "new") offer(byId("which"), runOffers(), data.runs[0]?.name);
  const run = byName.get(byId("which").value);
  if (!run) return;
  const kept = new Set([...byId("run-body").querySelectorAll("details[open]")].map((one) => one.id));
  byId("run-body").replaceChildren(
    element("p", {}, isolated(`${run.state}; ${run.step} of ${run.total || "?"} steps; ${measureName()} ${figure(measured(run), 3)}; goodput ${percent(run.goodput)}`)),
    ...[attemptsOf(run), troublesOf(run), neighboursOf(run), settingsOf(run), filesOf(run)].filter((part) => part !== null),
  );
  for (const details of byId("run-body").querySelectorAll("details")) if (kept.has(details.id)) details.open = true;
}

function attemptsOf(run) {
  if (run.attempts.length === 0) return element("p", { class: "empty" }, "It has not started.");
  const table = element("table");
  fill(table, ["attempt", "began", "lasted", "waited", "ranks", "node", "from step", "to step", "ended by", "last words"], run.attempts.map((attempt, number) => [
    element("th", { scope: "row" }, `${attempt.number}${attempt.in_place ? ", same nodes" : ""}`), moment(attempt.began), numeric(lasting(attempt.ended - attempt.began)), numeric(lasting(run.waits[number])), numeric(String(attempt.ranks)),
    element("td", {}, isolated(attempt.host)), numeric(String(attempt.resumed)), numeric(String(attempt.reached)), element("td", {}, isolated(attempt.cause)), element("td", { class: "words" }, isolated(attempt.message ?? "–")),
  ]));
  return element("div", {}, element("h3", {}, "Attempts"), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Attempts" }, table));
}

function troublesOf(run) {
  const launcher = run.failures.filter(([who]) => who === "launcher").map(([, cause, message]) => `The launcher: ${cause}: ${message}`);
  const told = [...run.troubles, ...launcher];
  return told.length ? element("ul", { class: "note" }, told.map((text) => element("li", {}, isolated(text)))) : null;
}

function neighboursOf(run) {
  const found = neighbours(run);
  if (found.length === 0) return null;
  const table = element("table");
  const own = measured(run);
  fill(table, ["run", "differs in", "here", "there", measureName(), "this one is ahead by"], found.map(({ other, keys }) => {
    const value = measured(other);
    const ahead = own === null || value === null ? null : data.measure ? own - value : value - own;
    const lines = (of) => element("td", {}, keys.slice(0, 6).map((key) => element("div", {}, isolated(shorter(of(key), 80)))), keys.length > 6 ? element("div", {}, `and ${keys.length - 6} more`) : null);
    return [
      element("th", { scope: "row" }, element("button", { type: "button", class: "link", onclick: () => openRun(other.name) }, isolated(shorter(other.label, 60)))),
      keys.length ? lines((key) => key) : "nothing that counts", lines((key) => setting(run, key)), lines((key) => setting(other, key)), numeric(figure(value, 3)), numeric(ahead === null ? "–" : `${ahead >= 0 ? "+" : "−"}${Math.abs(ahead).toFixed(3)}`),
    ];
  }));
  return element("div", {}, element("h3", {}, "Its neighbours: the runs that differ least"), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Neighbours" }, table));
}

function settingsOf(run) {
  const all = { ...data.shared, ...run.settings };
  const lines = (keys) => keys.sort().map((key) => [element("th", { scope: "row" }, isolated(key)), element("td", { class: "words" }, isolated(all[key])), element("td", { class: "words" }, isolated(data.defaults[key] ?? "–"))]);
  const changed = Object.keys(all).filter((key) => all[key] !== data.defaults[key]);
  const rest = Object.keys(all).filter((key) => all[key] === data.defaults[key]);
  const table = (keys) => {
    const made = element("table");
    fill(made, ["setting", "here", "default"], lines(keys));
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings" }, made);
  };
  return element("div", {}, element("h3", {}, "Settings that are not the default"), changed.length ? table(changed) : element("p", { class: "empty" }, "None that can be read."),
    element("details", { id: "run-defaults" }, element("summary", {}, `${rest.length} settings with their default`), table(rest)));
}

function filesOf(run) {
  const places = [["Folder", run.path], ["Settings", `${run.path}/config.yaml`], ["Metrics", `${run.path}/metrics.jsonl`], ["Checkpoints", `${run.path}/checkpoints`], ["Evaluations", `${run.path}/evaluation`], ["Code", run.code || "not known"], ["Versions", Object.entries(data.versions[run.versions] ?? {}).map(([key, value]) => `${key} ${value}`).join(", ") || "not known"]];
  const logs = run.logs.map((log) => element("li", {}, logEntry(run, log)));
  return element("div", {}, element("h3", {}, "Where its files are"), element("dl", { class: "facts" }, pairs(places)), logs.length ? element("h3", {}, "Logs") : null, element("ul", { class: "logs" }, logs));
}

function logEntry(run, log) {
  const file = `attempts/${String(log.attempt).padStart(2, "0")}/rank${log.rank}.log`;
  const text = `${file} (${log.bytes.toLocaleString("en")} bytes)`;
  return liveToken === null ? isolated(text) : element("button", { type: "button", class: "link", "data-log": `${log.attempt} ${log.rank}`, onclick: () => follow(run, log) }, text);
}

function listenToRun() {
  byId("which").addEventListener("change", () => showRun());
}
parts.push(showRun);

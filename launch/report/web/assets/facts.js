// What the sweep is, and how it stands.

function showFacts(why) {
  if (why === "theme") return;
  document.title = `${data.sweep.name}: report`;
  byId("name").replaceChildren(isolated(data.sweep.name));
  const states = new Map();
  for (const run of data.runs) states.set(run.state, (states.get(run.state) ?? 0) + 1);
  const told = [...states].sort((a, b) => b[1] - a[1]).map(([state, number]) => `${number} ${state}`);
  byId("states").replaceChildren(isolated(`${count(data.runs.length, "run")}: ${told.join(", ")}`));
  byId("missing").replaceChildren(...data.missing.map((text) => element("li", {}, text)));
  byId("missing").hidden = data.missing.length === 0;
  byId("tiles").replaceChildren(...tiles().map(([name, value, more]) => element("div", {}, element("dt", {}, name), element("dd", {}, isolated(value), element("small", {}, isolated(more))))));
  byId("facts").replaceChildren(...pairs(data.about));
  const rules = [["Curves", data.rules.curves], ["Goodput", data.rules.goodput], ["Costs", data.rules.costs], ["Settings", effectRule()]];
  byId("rule-list").replaceChildren(...pairs(rules));
  byId("written").textContent = `Written ${data.written}. Nothing on this page is fetched from elsewhere.`;
}

function pairs(list) {
  return list.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, isolated(text))]);
}

function tiles() {
  const spent = total(data.runs.map((run) => run.seconds));
  const useful = total(data.runs.map((run) => run.useful));
  const attempts = total(data.runs.map((run) => run.attempts.length));
  const waits = data.runs.flatMap((run) => run.waits).sort((a, b) => a - b);
  const again = total(data.runs.map((run) => run.repeated));
  const best = data.runs.find((run) => measured(run) !== null);
  return [
    [`Best ${measureName()}`, best ? figure(measured(best), data.measure ? 2 : 4) : "–", best ? best.label : "nothing is measured yet"],
    ["Finished", `${data.runs.filter((run) => run.state === "finished").length} of ${data.runs.length}`, count(attempts, "attempt")],
    ["Goodput", spent ? percent(useful / spent) : "–", `${hours(useful)} of ${hours(spent)} GPU-hours`],
    ["Steps done again", again.toLocaleString("en"), `of ${total(data.runs.map((run) => run.step)).toLocaleString("en")} that stand`],
    ["Wait in the queue", waits.length ? lasting(waits[Math.floor(waits.length / 2)]) : "–", waits.length ? `median; longest ${lasting(waits[waits.length - 1])}` : "no attempt yet"],
  ];
}
parts.push(showFacts);

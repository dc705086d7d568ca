// Two runs: settings, code, versions, data; where their losses part; which classes moved.

const MOST_CLASSES = 80;

function pair() {
  return [byName.get(byId("first").value), byName.get(byId("second").value)];
}

function showCompare(why) {
  if (why === "new") {
    offer(byId("first"), runOffers(), data.runs[0]?.name);
    offer(byId("second"), runOffers(), data.runs[Math.min(1, data.runs.length - 1)]?.name);
  }
  const [a, b] = pair();
  if (!a || !b) return;
  const both = Object.keys(a.classes).filter((name) => b.classes[name]?.names === a.classes[name].names).sort();
  offer(byId("evaluation"), both.map((name) => [name, name]), data.measure);
  showDifferences(a, b);
  chart("chart-parting", () => partingChart(a, b), "There is no loss of both.");
  chart("chart-classes", () => classChart(a, b), "No evaluation of both has figures of the same classes.");
}

function differencesOf(a, b) {
  const keys = [...new Set([...Object.keys(a.settings), ...Object.keys(b.settings)])].filter((key) => setting(a, key) !== setting(b, key));
  const version = (run) => data.versions[run.versions] ?? {};
  const versions = [...new Set([...Object.keys(version(a)), ...Object.keys(version(b))])].filter((key) => version(a)[key] !== version(b)[key]);
  const kind = (key) => (/fingerprint|sha256/.test(key) || key.startsWith("data.") ? "data" : matters(key) ? "setting" : "setting outside the result");
  return [
    ...keys.map((key) => [kind(key), key, setting(a, key), setting(b, key)]),
    ...(a.code !== b.code ? [["code", "snapshot", a.code || "not known", b.code || "not known"]] : []),
    ...versions.map((key) => ["version", key, version(a)[key] ?? "not known", version(b)[key] ?? "not known"]),
  ].sort((left, right) => left[0].localeCompare(right[0]) || left[1].localeCompare(right[1]));
}

function showDifferences(a, b) {
  const lines = differencesOf(a, b).map((line) => line.map((text, column) => element(column === 1 ? "th" : "td", column === 1 ? { scope: "row" } : { class: "words" }, isolated(shorter(text, 400)))));
  const scores = [...new Set([...Object.keys(a.scores), ...Object.keys(b.scores)])].sort();
  lines.push(...scores.map((name) => [element("td", {}, "score"), element("th", { scope: "row" }, isolated(`mAP (${name})`)), figure(a.scores[name], 3), figure(b.scores[name], 3)]));
  const none = [[element("td", { colspan: 4, class: "empty" }, a === b ? "It is one run: choose two." : "Nothing that is known: settings, code, versions and data are the same.")]];
  fill(byId("differences"), ["kind", "what", "first", "second"], lines.length ? lines : none);
}

async function partingChart(a, b) {
  const [first, second] = await Promise.all([curveOf(a, "loss", "step"), curveOf(b, "loss", "step")]);
  byId("parting").textContent = "";
  if (!first || !second || a === b) return null;
  // Thinned curves keep different lines, so only steps that both keep are compared.
  const other = new Map(second.x.map((step, place) => [step, second.y[place]]));
  const gaps = first.x.flatMap((step, place) => (other.has(step) ? [{ step, gap: other.get(step) - first.y[place], of: Math.abs(first.y[place]) }] : []));
  byId("parting").textContent = partingWords(gaps);
  const curves = [[a, first, COLORS[0], "solid"], [b, second, COLORS[1], "dash"]];
  return {
    said: `Losses of two runs over steps. ${partingWords(gaps)}`, heads: ["step", "second less first"], rows: () => gaps.map(({ step, gap }) => [step, gap]),
    traces: [
      ...curves.map(([run, curve, color, dash]) => ({ type: "scatter", mode: "lines", name: plain(run.label), x: curve.x, y: curve.y, line: { color, dash, width: 1.8 }, hovertemplate: "%{y:.5~g} at %{x}<extra></extra>" })),
      { type: "scatter", mode: "lines", name: "second less first", x: gaps.map(({ step }) => step), y: gaps.map(({ gap }) => gap), yaxis: "y2", line: { color: colour("quiet"), width: 1 }, hovertemplate: "%{y:+.4~g} at %{x}<extra></extra>" },
    ],
    layout: { height: 420, showlegend: true, xaxis: { title: "steps", anchor: "y2" }, yaxis: { title: "loss", domain: [0.36, 1] }, yaxis2: axis({ title: "difference", domain: [0, 0.28], zeroline: true, zerolinecolor: colour("quiet") }) },
  };
}

const NEAR = 0.01;

function partingWords(gaps) {
  if (gaps.length === 0) return "Their curves keep no step that both have.";
  const differs = gaps.find(({ gap, of }) => Math.abs(gap) > 1e-4 * of);
  if (!differs) return `The losses are the same, to the digits that are kept, up to step ${gaps[gaps.length - 1].step}.`;
  let since = gaps.length;
  while (since > 0 && Math.abs(gaps[since - 1].gap) > NEAR * gaps[since - 1].of) since -= 1;
  const end = gaps[gaps.length - 1];
  const apart = since < gaps.length ? `from step ${gaps[since].step} on they stay more than 1 % apart` : "they end within 1 % of each other";
  return `The losses differ from step ${differs.step} on; ${apart}. At step ${end.step} the second is ${end.gap >= 0 ? "higher" : "lower"} by ${brief(Math.abs(end.gap))}. Compared at the steps that both curves keep.`;
}

function classChart(a, b) {
  const name = byId("evaluation").value;
  byId("classes-said").textContent = data.classes_left;
  if (!name || !a.classes[name]) return null;
  const what = a.classes[name].what;
  const all = data.classes[a.classes[name].names].map((label, place) => ({ label, one: a.classes[name].points[place], two: b.classes[name].points[place] })).filter(({ one, two }) => one !== null && two !== null);
  const moved = [...all].sort((x, y) => Math.abs(y.two - y.one) - Math.abs(x.two - x.one)).slice(0, MOST_CLASSES);
  const shown = moved.sort((x, y) => y.two - y.one - (x.two - x.one));
  const better = all.filter(({ one, two }) => two > one).length;
  byId("classes-said").textContent = `${what} of each class; the second is ahead in ${better} of ${all.length}. On top: where it leads most.${all.length > shown.length ? ` The ${shown.length} that moved most.` : ""} ${data.classes_left}`;
  const labels = shown.map(({ label }) => plain(label, window.innerWidth < 600 ? 14 : 32));
  const side = (run, key, color, hatch, shift) => ({
    type: "bar", orientation: "h", name: plain(run.label), y: shown.map((_, place) => place + shift), x: shown.map((one) => one[key]), width: 0.38, marker: bar([color, hatch]),
    hoverinfo: "text", textposition: "none", text: shown.map((one) => `${plain(one.label)}<br>${figure(one[key], 2)}; second less first ${one.two - one.one >= 0 ? "+" : "−"}${Math.abs(one.two - one.one).toFixed(2)}`),
  });
  return {
    traces: [side(a, "one", COLORS[0], "", -0.2), side(b, "two", COLORS[1], "/", 0.2)], said: `${what} of ${shown.length} classes in ${name} of two runs`,
    heads: ["class", "first", "second", "second less first"], rows: () => shown.map(({ label, one, two }) => [element("td", {}, isolated(label)), one, two, two - one]),
    layout: {
      height: 120 + 22 * shown.length, showlegend: true, margin: { t: 36, b: 44 }, legend: { orientation: "h", x: 0, y: 1, yref: "container", yanchor: "top", font: { size: 11 } },
      xaxis: { title: `${plain(what)}, points (${plain(name)})`, rangemode: "tozero" }, yaxis: { tickvals: shown.map((_, place) => place), ticktext: labels, range: [shown.length - 0.4, -0.6], showgrid: false },
    },
  };
}

function listenToCompare() {
  for (const id of ["first", "second"]) byId(id).addEventListener("change", () => showCompare("choice"));
  byId("evaluation").addEventListener("change", () => chart("chart-classes", () => classChart(...pair()), ""));
}
parts.push(showCompare);

// Curves of the chosen runs, over steps or time.

const unpacked = new Map(); // by the packed text, what it holds

async function unpack(run) {
  if (!unpacked.has(run.name) || unpacked.get(run.name).from !== run.curves) {
    unpacked.set(run.name, { from: run.curves, content: inflated(run.curves, "deflate").then(JSON.parse).then(summed) });
  }
  return unpacked.get(run.name).content;
}

function sums(differences) {
  let at = 0;
  return differences.map((difference) => (at += difference));
}

function summed(content) {
  const time = sums(content.time);
  return {
    step: sums(content.step), time: time.map((second) => (second - time[0]) / 3600), attempts: content.attempts,
    metrics: Object.fromEntries(Object.entries(content.metrics).map(([name, [lines, values]]) => [name, { lines: sums(lines), values }])),
  };
}

// An exponential mean over the points, without the pull of its start.
function smoothed(values, weight) {
  let mean = 0;
  let known = 0;
  return values.map((value) => {
    mean = weight * mean + (1 - weight) * value;
    known = weight * known + (1 - weight);
    return mean / known;
  });
}

async function curveOf(run, metric, over) {
  const content = await unpack(run);
  const curve = content.metrics[metric];
  if (!curve) return null;
  const x = curve.lines.map((line) => content[over][line]);
  const begun = content.attempts.slice(1).map(([line, number]) => {
    const place = curve.lines.findIndex((one) => one >= line);
    return place < 0 ? null : { place, number, after: run.attempts.filter((attempt) => attempt.number < number).pop() };
  }).filter((one) => one !== null);
  return { x, y: curve.values, begun };
}

async function curveTraces(metric, over, weight, ends, legend) {
  const traces = [];
  const lines = [];
  for (const run of data.runs.filter((one) => chosen.has(one.name))) {
    const curve = await curveOf(run, metric, over);
    if (!curve) continue;
    const { color, dash } = look(run.name);
    const label = plain(run.label);
    const shown = weight > 0 ? smoothed(curve.y, weight) : curve.y;
    const common = { x: curve.x, type: "scatter", mode: "lines", legendgroup: run.name, name: label };
    if (weight > 0) traces.push({ ...common, y: curve.y, line: { color, width: 1 }, opacity: 0.25, hoverinfo: "skip", showlegend: false });
    traces.push({ ...common, y: shown, line: { color, dash, width: 1.8 }, showlegend: legend, hovertemplate: `%{y:.5~g} at %{x:.5~g}<extra>${label.replace(/%/g, "&#37;")}</extra>` });
    if (ends && curve.begun.length) {
      traces.push({
        type: "scatter", mode: "markers", legendgroup: run.name, showlegend: false, x: curve.begun.map(({ place }) => curve.x[place]), y: curve.begun.map(({ place }) => shown[place]),
        marker: { symbol: "diamond-open", size: 9, color, line: { width: 2 } }, hoverinfo: "text", name: label,
        text: curve.begun.map(({ number, after }) => `${label}<br>attempt ${number} begins${after ? `, after: ${plain(after.cause, 40)}` : ""}`),
      });
    }
    lines.push(...curve.x.map((x, place) => [element("td", {}, isolated(shorter(run.label, 60))), x, curve.y[place]]));
  }
  return { traces, lines };
}

const OVER = { step: "steps", time: "hours since the run's first log line" };

async function curveChart(metric, small) {
  const over = byId("over").value;
  const { traces, lines } = await curveTraces(metric, over, Number(byId("smooth").value), byId("ends").checked, !small);
  if (traces.length === 0) return null;
  const type = !small && byId("log").checked ? "log" : "linear";
  const runs = new Set(traces.map((trace) => trace.legendgroup)).size;
  return {
    traces, heads: ["run", OVER[over], metric], rows: () => lines,
    said: `${metric} of ${count(runs, "run")} over ${OVER[over]}`,
    layout: small
      ? { height: 190, showlegend: false, margin: { l: 48, r: 8, t: 30, b: 28 }, title: { text: plain(metric), font: { size: 12 }, x: 0.02, y: 0.96, xanchor: "left" }, xaxis: { nticks: 5 }, yaxis: { nticks: 5 } }
      : { height: 400 + 18 * Math.ceil(runs / 3), showlegend: true, xaxis: { title: OVER[over] }, yaxis: { title: plain(metric), type } },
  };
}

function showCurves(why) {
  if (why === undefined || why === "new") {
    offer(byId("metric"), data.metrics.map((name) => [name, name]), "loss");
  }
  const nothing = data.metrics.length === 0 ? "No run has written metrics yet." : chosen.size === 0 ? "No run is chosen: tick some in the table." : "The chosen runs have not logged this metric.";
  chart("chart-curve", () => curveChart(byId("metric").value, false), nothing);
  if (!byId("all-metrics").open) return;
  const grid = byId("chart-metrics");
  const names = data.metrics.filter((name) => !/^ln_k/.test(name));
  if (grid.children.length !== names.length) grid.replaceChildren(...names.map((_, place) => element("div", { id: `metric-${place}`, class: "chart" })));
  names.forEach((name, place) => chart(`metric-${place}`, () => curveChart(name, true), `${shorter(name, 60)}: not logged by the chosen runs.`));
}

function listenToCurves() {
  for (const id of ["metric", "over", "log", "ends"]) byId(id).addEventListener("change", () => showCurves("choice"));
  byId("smooth").addEventListener("input", () => {
    const weight = Number(byId("smooth").value);
    byId("smooth-said").textContent = weight ? weight.toFixed(2) : "off";
    showCurves("choice");
  });
  byId("all-metrics").addEventListener("toggle", () => showCurves("choice"));
}
parts.push(showCurves);

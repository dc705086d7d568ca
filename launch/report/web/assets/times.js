// When which attempt ran, what the GPU-hours went to, what was lost to what.

const CAUSES = { finished: ["#009E73", ""], running: ["#56B4E9", ""], lost: ["#777777", "x"] };
const CAUSE_COLORS = ["#E69F00", "#0072B2", "#D55E00", "#CC79A7", "#8a7c00"];
const MOST_ROWS = 60;

// A colour and a hatch of each cause, the frequent ones first.
function looks() {
  const counts = new Map();
  for (const attempt of data.runs.flatMap((run) => run.attempts)) counts.set(attempt.cause, (counts.get(attempt.cause) ?? 0) + 1);
  const names = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || (a < b ? -1 : 1));
  const others = names.filter((name) => !Object.hasOwn(CAUSES, name));
  return new Map(names.map((name) => {
    const place = others.indexOf(name);
    return [name, place < 0 ? CAUSES[name] : [CAUSE_COLORS[place % CAUSE_COLORS.length], HATCHES[(place % (HATCHES.length - 1)) + 1]]];
  }));
}

function unitOf(seconds) {
  return seconds > 3 * 86400 ? [86400, "days"] : seconds > 3 * 3600 ? [3600, "hours"] : seconds > 180 ? [60, "minutes"] : [1, "seconds"];
}

function bar([color, hatch]) {
  return { color, line: { color: colour("paper"), width: 0.6 }, pattern: { shape: hatch, fgcolor: colour("paper"), size: 6, solidity: 0.25, fillmode: "overlay" } };
}

function names(runs) {
  const few = window.innerWidth < 600;
  return runs.map((run) => plain(`${shorter(run.label, few ? 14 : 44)}  #${data.runs.indexOf(run) + 1}`, 60));
}

function showTimeLine() {
  const runs = shownRuns.slice(0, MOST_ROWS);
  const all = shownRuns.length;
  byId("line-said").textContent = `Thin: waiting. ${all > runs.length ? `The first ${runs.length} of ${all} runs in the table's order; filter or sort the table for others.` : "In the table's order."}`;
  chart("chart-line", () => lineChart(runs), "No attempt has begun.");
}

function lineChart(runs) {
  const attempts = runs.flatMap((run, place) => run.attempts.map((attempt, number) => ({ run, place, attempt, wait: run.waits[number] })));
  if (attempts.length === 0) return null;
  const zero = Math.min(...attempts.map(({ attempt, wait }) => attempt.began - wait));
  const [unit, unitName] = unitOf(Math.max(...attempts.map(({ attempt }) => attempt.ended)) - zero);
  const labels = names(runs);
  const waits = attempts.filter(({ wait }) => wait > 0);
  const traces = [{
    type: "bar", orientation: "h", name: "waiting", y: waits.map(({ place }) => place), base: waits.map(({ attempt, wait }) => (attempt.began - wait - zero) / unit), x: waits.map(({ wait }) => wait / unit), width: 0.12,
    marker: { color: colour("quiet") }, hoverinfo: "text", textposition: "none", text: waits.map(({ run, wait }) => `${plain(run.label)}<br>waited ${lasting(wait)}`),
  }];
  for (const [cause, style] of looks()) {
    const own = attempts.filter(({ attempt }) => attempt.cause === cause);
    if (own.length === 0) continue;
    traces.push({
      type: "bar", orientation: "h", name: plain(cause, 30), y: own.map(({ place }) => place), base: own.map(({ attempt }) => (attempt.began - zero) / unit),
      x: own.map(({ attempt }) => Math.max(0, attempt.ended - attempt.began) / unit), width: 0.68, marker: bar(style), hoverinfo: "text", textposition: "none",
      text: own.map(({ run, attempt }) => `${plain(run.label)}<br>attempt ${attempt.number}: ${plain(cause, 40)}<br>${lasting(attempt.ended - attempt.began)} on ${plain(attempt.host, 40)}, steps ${attempt.resumed} – ${attempt.reached}`),
    });
  }
  return {
    traces, said: `${count(attempts.length, "attempt")} of ${count(runs.length, "run")} over ${unitName}`,
    heads: ["run", "attempt", "began", "seconds", "waited before, s", "ended by"],
    rows: () => attempts.map(({ run, attempt, wait }) => [element("td", {}, isolated(shorter(run.label, 60))), attempt.number, moment(attempt.began), attempt.ended - attempt.began, wait, element("td", {}, isolated(attempt.cause))]),
    layout: {
      height: 110 + 20 * Math.max(runs.length, 3) + (window.innerWidth < 600 ? 19 * traces.length : 0), showlegend: true, margin: { t: 8, b: 76 + (window.innerWidth < 600 ? 19 * traces.length : 0) }, legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 11 } },
      xaxis: { title: `${unitName} since the first began to wait`, rangemode: "tozero" }, yaxis: { tickvals: runs.map((_, place) => place), ticktext: labels, range: [runs.length - 0.4, -0.6], showgrid: false },
    },
  };
}

function spentChart() {
  const runs = data.runs;
  if (total(runs.map((run) => run.seconds)) === 0) return null;
  const parts = [["useful steps", total(runs.map((run) => run.useful)), CAUSES.finished]];
  for (const [cause, style] of looks()) {
    const seconds = total(runs.map((run) => run.again[cause] ?? 0));
    if (seconds > 0) parts.push([`steps again after: ${cause}`, seconds, style]);
  }
  parts.push(["starting, saving, stopping", total(runs.map((run) => run.rest)), ["#999999", "."]]);
  const all = total(parts.map(([, seconds]) => seconds));
  return {
    said: `${hours(all)} GPU-hours: ${parts.map(([name, seconds]) => `${name} ${percent(seconds / all)}`).join(", ")}`,
    heads: ["went to", "GPU-hours", "share"], rows: () => parts.map(([name, seconds]) => [element("td", {}, isolated(name)), seconds / 3600, numeric(percent(seconds / all))]),
    traces: parts.map(([name, seconds, style]) => ({
      type: "bar", orientation: "h", name: plain(name, 44), x: [(100 * seconds) / all], y: [""], marker: bar(style), textposition: "none",
      text: [`${plain(name, 44)}<br>${hours(seconds)} GPU-hours, ${percent(seconds / all)}`], hoverinfo: "text",
    })),
    layout: { height: 190, barmode: "stack", showlegend: true, margin: { l: 16, t: 4, b: 90 }, legend: { orientation: "h", traceorder: "normal", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 11 } }, xaxis: { title: `percent of ${hours(all)} GPU-hours`, range: [0, 100] }, yaxis: { visible: false } },
  };
}

function showLost() {
  const found = new Map();
  for (const run of data.runs) {
    run.attempts.forEach((attempt, number) => {
      if (attempt.cause === "finished" || attempt.cause === "running") return;
      const lost = found.get(attempt.cause) ?? { attempts: 0, runs: new Set(), waited: 0 };
      found.set(attempt.cause, lost);
      lost.attempts += 1;
      lost.runs.add(run.name);
      lost.waited += run.waits[number + 1] ?? 0;
    });
  }
  const of = (cause, key) => total(data.runs.map((run) => run[key][cause] ?? 0));
  const lines = [...found].sort((a, b) => b[1].attempts - a[1].attempts).map(([cause, lost]) => [
    element("th", { scope: "row" }, isolated(shorter(cause, 80))), numeric(String(lost.attempts)), numeric(String(lost.runs.size)), numeric(of(cause, "steps_again").toLocaleString("en")),
    numeric(hours(of(cause, "again"))), numeric(hours(lost.waited)),
  ]);
  fill(byId("lost"), ["ended by", "attempts", "runs", "steps again", "GPU-hours of these", "waited afterwards, h"], lines.length ? lines : [[element("td", { colspan: 6, class: "empty" }, "No attempt ended before its run was finished.")]]);
}

function waitChart() {
  const first = data.runs.flatMap((run) => run.waits.slice(0, 1));
  const later = data.runs.flatMap((run) => run.waits.slice(1));
  if (first.length === 0) return null;
  const [unit, unitName] = unitOf(Math.max(...first, ...later, 0));
  const kinds = [["before the first attempt", first, COLORS[0], ""], ["between attempts", later, COLORS[1], "/"]].filter(([, values]) => values.length);
  const most = Math.max(...first, ...later) / unit || 1;
  return {
    said: kinds.map(([name, values]) => `${name}: ${count(values.length, "wait")}, together ${lasting(total(values))}`).join("; "),
    heads: ["wait", "number", "together, h", "longest, h"], rows: () => kinds.map(([name, values]) => [name, values.length, total(values) / 3600, Math.max(...values) / 3600]),
    traces: kinds.map(([name, values, color, hatch]) => ({ type: "histogram", name: `${name} (${values.length})`, x: values.map((value) => value / unit), xbins: { start: 0, size: most / 20, end: most * 1.06 }, marker: bar([color, hatch]), hovertemplate: "%{y} of about %{x}<extra></extra>" })),
    layout: { height: 270, barmode: "stack", showlegend: true, margin: { t: 8, b: 76 }, legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 11 } }, xaxis: { title: `waited, ${unitName}`, rangemode: "tozero" }, yaxis: { title: "attempts" } },
  };
}

function showTimes() {
  showTimeLine();
  chart("chart-spent", spentChart, "No attempt has lasted a second.");
  showLost();
  chart("chart-waits", waitChart, "No attempt has begun, so nothing waited yet.");
}
parts.push(showTimes);

// What each setting does to the score, alone and together with the others.

function effectRule() {
  return `A dot is the mean ${measureName()} of a value over all other settings; its bar is one standard deviation, either way, between the means of each seed, and is missing where there is one seed alone; small rings are the runs. Where runs are missing, only those cells of the grid count in which every value of the setting has a run; where there is no such cell, the chart says that it is not balanced.`;
}

function showEffects() {
  const grid = byId("chart-effects");
  byId("effects-said").textContent = data.effects.length
    ? `Mean ${measureName()} over all other settings; bars: one standard deviation between seeds; rings: runs.`
    : `No setting has two values with a ${measureName()} yet, so there is nothing to set side by side.`;
  if (grid.children.length !== data.effects.length) {
    for (const place of grid.children) drawn.delete(place.id);
    grid.replaceChildren(...data.effects.map((_, place) => element("div", { id: `effect-${place}`, class: "chart" })));
  }
  data.effects.forEach((effect, place) => chart(`effect-${place}`, () => effectChart(effect), ""));
  showParallel();
}

function effectChart(effect) {
  const levels = effect.levels;
  const at = new Map(levels.map((level, place) => [level.value, place]));
  const points = data.runs.filter((run) => measured(run) !== null && at.has(setting(run, effect.key)));
  const spread = levels.map((level) => level.spread);
  return {
    said: `${measureName()} by ${shorter(effect.key, 60)}: ${levels.map((level) => `${shorter(level.value, 20)} ${figure(level.mean, 3)}`).join(", ")}`,
    heads: [effect.key, `mean ${measureName()}`, "± between seeds", "lowest", "highest", "runs"],
    rows: () => levels.map((level) => [element("td", {}, isolated(level.value)), level.mean, level.spread, level.low, level.high, level.runs]),
    traces: [
      {
        type: "scatter", mode: "markers", x: points.map((run) => at.get(setting(run, effect.key)) + 0.14), y: points.map(measured), hoverinfo: "text",
        text: points.map((run) => `${plain(run.label)}<br>${figure(measured(run), 3)}`), marker: { symbol: "circle-open", size: 5, color: colour("quiet"), opacity: 0.7 },
      },
      {
        type: "scatter", mode: "lines+markers", x: levels.map((_, place) => place), y: levels.map((level) => level.mean), hoverinfo: "text",
        text: levels.map((level) => `${plain(level.value)}: ${figure(level.mean, 3)}${level.spread === null ? "" : ` ± ${figure(level.spread, 3)}`}<br>${count(level.runs, "run")}, ${figure(level.low, 3)} – ${figure(level.high, 3)}`),
        line: { color: COLORS[5], width: 1.5 }, marker: { color: COLORS[5], size: 8 },
        error_y: { type: "data", array: spread.map((value) => value ?? 0), visible: spread.some((value) => value !== null), color: COLORS[5], thickness: 1.5, width: 5 },
      },
    ],
    layout: {
      height: 230, showlegend: false, margin: { l: 52, r: 10, t: 32, b: 36 },
      title: { text: plain(effect.key, 44) + (effect.balanced ? "" : " (not balanced)"), font: { size: 12 }, x: 0.02, y: 0.96, xanchor: "left" },
      xaxis: { tickvals: levels.map((_, place) => place), ticktext: levels.map((level) => plain(level.value, 14)), range: [-0.5, levels.length - 0.5], showgrid: false },
      yaxis: { nticks: 5 },
    },
  };
}

// Each setting is an upright axis, each run a line through its values; a run's colour is its score.
function showParallel() {
  chart("chart-parallel", parallelChart, "There are no two settings that differ between runs that were measured.");
}

const BINS = 8;
const SCALE = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369"]; // cividis, without its yellow end

function parallelChart() {
  const runs = shownRuns.filter((run) => measured(run) !== null);
  const keys = data.axes.filter((key) => new Set(data.runs.map((run) => setting(run, key))).size > 1).slice(0, 10);
  byId("parallel-said").textContent = `Each line is a run, yellow for the best ${measureName()}, blue for the worst; the table's filter holds here too.${data.axes.length > 10 ? ` The first 10 of ${data.axes.length} settings.` : ""}`;
  if (runs.length < 2 || keys.length < 1) return null;
  const dimensions = [...keys.map((key) => dimension(key, runs.map((run) => setting(run, key)))), dimension(measureName(), runs.map(measured), 3)];
  const scores = runs.map(measured);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const good = (score) => (high > low ? (data.measure ? score - low : high - score) / (high - low) : 1);
  const bins = Array.from({ length: BINS }, () => ({ x: [], y: [], text: [] }));
  runs.forEach((run, place) => {
    const bin = bins[Math.min(BINS - 1, Math.floor(good(scores[place]) * BINS))];
    dimensions.forEach((one, column) => {
      bin.x.push(column);
      bin.y.push(one.at[place]);
      bin.text.push(`${plain(run.label)}<br>${plain(one.title)}: ${plain(one.shown[place])}`);
    });
    bin.x.push(null), bin.y.push(null), bin.text.push("");
  });
  const dark = matchesDark();
  const traces = bins.map((bin, place) => ({
    type: "scatter", mode: "lines+markers", ...bin, hoverinfo: "text", opacity: runs.length > 100 ? 0.45 : 0.85,
    line: { color: (dark ? [...SCALE].map(lighter) : SCALE)[place], width: place === BINS - 1 ? 2.2 : 1.2 }, marker: { size: 4 },
  })).filter((trace) => trace.x.length);
  const few = window.innerWidth < 600;
  return {
    traces, said: `${runs.length} runs as lines over ${keys.length} settings and ${measureName()}`,
    heads: ["run", ...dimensions.map((one) => one.title)],
    rows: () => runs.map((run, place) => [element("td", {}, isolated(shorter(run.name, 60))), ...dimensions.map((one) => one.shown[place])]),
    layout: {
      height: 360, showlegend: false, margin: { l: 30, r: 40, t: 12, b: 60 },
      xaxis: { tickvals: dimensions.map((_, place) => place), ticktext: dimensions.map((one) => plain(one.title.split(".").pop(), few ? 10 : 26)), range: [-0.3, dimensions.length - 0.6], showgrid: true, gridcolor: colour("quiet") },
      yaxis: { visible: false, range: [-0.06, 1.06] },
      annotations: dimensions.flatMap((one, column) => one.ticks.map(([height, text]) => ({ x: column, y: height, text: plain(text, few ? 8 : 14), showarrow: false, xanchor: "left", xshift: 5, font: { size: 10, color: colour("ink") }, bgcolor: colour("veil") }))),
    },
  };
}

// Heights from 0 to 1 of values: few different ones evenly, many numbers by their size.
function dimension(title, values, digits = null) {
  const shown = values.map((value) => (digits === null ? String(value) : figure(value, digits)));
  const different = [...new Set(values)];
  const figures = different.map(asFigure);
  const numbers = figures.every((value) => value !== null);
  if (!numbers || (digits === null && different.length <= 8)) {
    different.sort((a, b) => (numbers ? asFigure(a) - asFigure(b) : a < b ? -1 : 1));
    const height = new Map(different.map((value, place) => [value, different.length > 1 ? place / (different.length - 1) : 0.5]));
    const every = Math.ceil(different.length / 10);
    return { title, shown, at: values.map((value) => height.get(value)), ticks: different.filter((_, place) => place % every === 0).map((value) => [height.get(value), value]) };
  }
  const [low, high] = [Math.min(...figures), Math.max(...figures)];
  const share = (value) => (high > low ? (value - low) / (high - low) : 0.5);
  const ticks = high > low ? [0, 0.25, 0.5, 0.75, 1].map((at) => [at, digits === null ? brief(low + at * (high - low)) : figure(low + at * (high - low), 2)]) : [[0.5, brief(low)]];
  return { title, shown, at: values.map((value) => share(asFigure(value))), ticks };
}

function lighter(color) {
  const part = (at) => Math.round(90 + Number.parseInt(color.slice(at, at + 2), 16) * 0.647);
  return `rgb(${part(1)},${part(3)},${part(5)})`;
}
parts.push(showEffects);

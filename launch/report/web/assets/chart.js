// Charts: the library, unpacked once; each chart with its words and its numbers for those who can't see it.

let library = null; // a promise
const waiting = new Map(); // by a chart's id, what is to be drawn there
const drawn = new Map(); // and what was
let drawing = false;

// The inflated bytes of base64.
async function inflated(text, format) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Response(stream).text();
}

function plotly() {
  library ??= inflated(byId("library").textContent, "gzip").then((text) => {
    const script = element("script");
    script.textContent = text;
    document.head.append(script);
    byId("library").textContent = "";
  });
  return library;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axis(more = {}) {
  return {
    automargin: true, zeroline: false, gridcolor: colour("line"), linecolor: colour("line"), tickfont: { size: 11 },
    ticklen: 4, tickcolor: "rgba(0,0,0,0)", fixedrange: false, ...more, title: { font: { size: 12 }, standoff: 8, text: more.title ?? "" },
  };
}

function layout(more) {
  const { xaxis = {}, yaxis = {}, margin = {}, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "inherit", size: 12, color: colour("ink") },
    margin: { l: 56, r: 16, t: 12, b: 44, ...margin }, hovermode: "closest", dragmode: "zoom", barmode: "overlay",
    hoverlabel: { bgcolor: colour("paper"), bordercolor: colour("line"), font: { color: colour("ink"), size: 12 }, align: "left" },
    legend: { orientation: "h", y: -0.18, x: 0, yanchor: "top", font: { size: 11 } },
    xaxis: axis(xaxis), yaxis: axis(yaxis), ...rest,
  };
}

// Draws anew when it is its turn. `make` gives {traces, layout, said, heads, rows}; null where there is nothing to see, for
// which `otherwise` says why.
function chart(id, make, otherwise) {
  waiting.set(id, { make, otherwise });
  if (!drawing) {
    drawing = true;
    document.body.dataset.charts = "waiting";
    requestAnimationFrame(() => setTimeout(drawAll)); // once what is there has been seen
  }
}

async function drawAll() {
  await plotly();
  while (waiting.size > 0) {
    const [id, job] = waiting.entries().next().value;
    waiting.delete(id);
    try {
      await drawOne(id, job);
    } catch (error) {
      drawn.delete(id);
      byId(id)?.replaceChildren(element("p", { class: "empty" }, `This can't be drawn: ${error.message}`));
      console.error(error);
    }
    await new Promise((go) => setTimeout(go));
  }
  drawing = false;
  document.body.dataset.charts = "drawn";
}

async function drawOne(id, { make, otherwise }) {
  const place = byId(id);
  if (place === null) return;
  const content = await make();
  if (content === null) {
    if (drawn.has(id)) Plotly.purge(place.firstElementChild);
    drawn.delete(id);
    place.replaceChildren(element("p", { class: "empty" }, otherwise));
    return;
  }
  if (!drawn.has(id)) {
    const numbers = element("details", { class: "numbers" }, element("summary", {}, "The numbers"));
    numbers.addEventListener("toggle", () => showNumbers(id));
    place.replaceChildren(element("div", { class: "plot", role: "img" }), numbers);
  }
  drawn.set(id, content);
  const plot = place.firstElementChild;
  plot.setAttribute("aria-label", content.said);
  plot.style.height = `${content.layout.height}px`;
  await Plotly.react(plot, content.traces, layout(content.layout), { responsive: true, displaylogo: false, displayModeBar: false });
  showNumbers(id);
}

function showNumbers(id) {
  const details = byId(id)?.querySelector(":scope > .numbers");
  const content = drawn.get(id);
  if (!details?.open || !content) return;
  const most = 1000;
  const lines = content.rows();
  const table = element("table");
  fill(table, content.heads, lines.slice(0, most).map((cells) => cells.map((cell) => (typeof cell === "number" ? numeric(brief(cell)) : cell === null ? numeric("–") : cell))));
  const more = lines.length > most ? element("p", { class: "quiet" }, `${lines.length - most} rows more are not shown.`) : null;
  details.replaceChildren(details.firstElementChild, element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of the chart" }, table), ...(more ? [more] : []));
}

function redraw() {
  for (const part of parts) part("theme");
}

// Begins: reads the data, listens, shows.

function matchesDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  byId("theme").textContent = matchesDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Show the page ${matchesDark() ? "light" : "dark"}`);
  redraw();
}

function show(next) {
  const first = data === null;
  data = next;
  byName = new Map(data.runs.map((run) => [run.name, run]));
  choose(first ? best() : [...chosen.keys()].filter((one) => byName.has(one)));
  if (first) setTheme("");
  for (const part of parts) part("new");
}

listenToTable();
listenToCurves();
listenToRun();
listenToCompare();
listen();
byId("theme").addEventListener("click", () => setTheme(matchesDark() ? "light" : "dark"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme));
let before = ""; // printing is on white paper
addEventListener("beforeprint", () => {
  before = document.documentElement.dataset.theme ?? "";
  setTheme("light");
});
addEventListener("afterprint", () => setTheme(before));
show(JSON.parse(byId("data").textContent));

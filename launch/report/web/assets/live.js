// While runs go on: the server (launch/live) tells what is new, and what a rank says.

let liveToken = null;
let log = null; // the stream of the log that is followed
const MOST_LINES = 5000;

function listen() {
  liveToken = JSON.parse(byId("live").textContent).token;
  if (liveToken === null) return;
  const stream = new EventSource(`events?token=${encodeURIComponent(liveToken)}`);
  const pulse = byId("pulse");
  pulse.hidden = false;
  stream.addEventListener("open", () => (pulse.textContent = "live"));
  stream.addEventListener("update", (event) => show(JSON.parse(event.data)));
  stream.addEventListener("error", () => (pulse.textContent = "the server does not answer; trying again"));
}

function follow(run, { attempt, rank }) {
  log?.close();
  const lines = element("pre", { tabindex: "0", "aria-label": "Log" });
  const stop = element("button", { type: "button", onclick: () => (log.close(), byId("follow").replaceChildren()) }, "Close");
  const again = element("label", {}, element("input", { type: "checkbox", checked: true }), " keep to the end");
  byId("follow").replaceChildren(element("h3", {}, isolated(`${shorter(run.label, 80)}: attempt ${attempt}, rank ${rank}`)), element("div", { class: "controls" }, again, stop), lines);
  const query = new URLSearchParams({ run: run.name, attempt, rank, token: liveToken });
  log = new EventSource(`log?${query}`);
  log.addEventListener("open", () => lines.replaceChildren()); // a stream that is opened again begins anew
  log.addEventListener("lines", (event) => {
    for (const text of JSON.parse(event.data).lines) lines.append(element("span", {}, `${text}\n`));
    while (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
    if (again.firstElementChild.checked) lines.scrollTop = lines.scrollHeight;
  });
  byId("follow").scrollIntoView({ block: "nearest" });
}

"use strict";
const log = document.getElementById("log");
const ended = () => document.getElementById("state").dataset.ended === "true";

// How the deployment stands is looked at again until it has ended.
const again = setInterval(async () => {
  if (ended()) return clearInterval(again);
  const answer = await fetch(location.origin + location.pathname).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!log && page.getElementById("log")) return location.reload();
  document.getElementById("state").replaceWith(page.getElementById("state"));
}, 2000);

// The log is sent as server-sent events, and goes on where it was when the
// connection breaks. Left out are sequences that move a terminal's cursor or
// set its colours (ECMA-48).
const sequences = /\x1b(?:\[[0-?]*[ -\/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])/g;
if (log) {
  const source = new EventSource(log.dataset.log + "?from=" + log.dataset.from);
  let cut = log.dataset.from !== "0"; // what comes first may be the middle of a line
  source.onmessage = (event) => {
    let text = JSON.parse(event.data);
    if (cut) {
      const line = text.indexOf("\n");
      if (line < 0) return;
      text = text.slice(line + 1);
      cut = false;
    }
    const follows = !ended() && innerHeight + scrollY >= document.documentElement.scrollHeight - 40;
    log.append(text.replace(sequences, "").replace(/\r+\n/g, "\n").replace(/\r/g, "\n"));
    if (follows) scrollTo(0, document.documentElement.scrollHeight);
  };
  source.addEventListener("end", () => source.close());
}

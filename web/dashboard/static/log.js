"use strict";
// The log of a build: it is read as server-sent events, and read on from where
// it was when the connection breaks.
(() => {
  const log = document.getElementById("log");
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const firstError = document.getElementById("first-error");
  const wrap = document.getElementById("wrap");
  const whole = log.dataset.from === "0";
  document.getElementById("tools").hidden = false;
  // A link to a line needs the lines counted from the first.
  if (!whole && /^#L\d+$/.test(location.hash)) return location.replace(log.dataset.all + location.hash);

  const partLines = 500;
  const failure = /\b(error|errors|ERR!|failed|failure|fatal|panic|exception|cannot find|not found)\b/i;
  const harmless = /\b(0|no) (errors?|failed|failures?)\b/i;
  let part = null, lines = 0, line = null, ended = true;
  let error = null;
  let hits = [], at = -1;

  // Colours and styles are kept (ECMA-48, SGR); sequences that move a
  // terminal's cursor are left out.
  const sequence = /\x1b(?:\[([0-?]*)[ -\/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])/g;
  const unfinished = /\x1b(?:\[[0-?]{0,64}[ -\/]{0,8}|\][^\x07\x1b]{0,2048}\x1b?)?$/;
  let held = "";
  let style = { flags: "", color: "" };

  const palette = (n) => {
    if (n < 16) return "c" + (n % 8);
    const v = n < 232 ? [36, 6, 1].map((d) => { const s = Math.floor((n - 16) / d) % 6; return s ? s * 40 + 55 : 0; }) : Array(3).fill((n - 232) * 10 + 8);
    return "rgb(" + v.join(" ") + ")";
  };
  const select = (codes) => {
    for (let i = 0; i < codes.length; i++) {
      const c = codes[i];
      if (c === 0) style = { flags: "", color: "" };
      else if (c === 1 || c === 2 || c === 3 || c === 4) style.flags += " " + ["", "b", "d", "i", "u"][c];
      else if (c === 22) style.flags = style.flags.replace(/ [bd]/g, "");
      else if (c === 23) style.flags = style.flags.replace(/ i/g, "");
      else if (c === 24) style.flags = style.flags.replace(/ u/g, "");
      else if (c >= 30 && c <= 37) style.color = "c" + (c - 30);
      else if (c >= 90 && c <= 97) style.color = "c" + (c - 90);
      else if (c === 39) style.color = "";
      else if ((c === 38 || c === 48) && codes[i + 1] === 5) { if (c === 38) style.color = palette(codes[i + 2] & 255); i += 2; }
      else if ((c === 38 || c === 48) && codes[i + 1] === 2) {
        if (c === 38) style.color = "rgb(" + codes.slice(i + 2, i + 5).map((n) => n & 255).join(" ") + ")";
        i += 4;
      }
    }
    if (style.flags.length > 64) style.flags = "";
  };

  // Troy's headings of phases begin blocks that fold. A phase that ended well
  // is folded, unless a reader opened it; the one that runs or failed is open.
  const heading = /^==> (Download Source|Install|Build|Test|Archive)(?:: .*)?\n$/;
  const phases = ["Download Source", "Install", "Build", "Test", "Archive"];
  const fold = document.getElementById("fold");
  const end = /^The phase ([A-Z][A-Za-z ]+) took ([\d.]{1,6} (?:s|min \d{1,2} s)), until \d\d:\d\d:\d\d UTC\.\n$/;
  let block = null, rank = -1, inside = 0, took = "";
  const settle = (open) => {
    if (!block) return;
    if (!block.dataset.touched) block.open = open;
    block.firstChild.dataset.lines = inside + (inside === 1 ? " line" : " lines") + (took && ", " + took);
  };
  const enter = (row, n) => {
    settle(false);
    rank = n;
    inside = 0;
    took = "";
    const number = document.createElement("i"); // no link within what folds
    number.className = "n";
    if (whole) number.dataset.n = lines;
    row.firstChild.replaceWith(number);
    if (row === part.firstChild) part.remove();
    block = document.createElement("details");
    block.className = "phase";
    block.open = true;
    const head = document.createElement("summary");
    head.append(row);
    block.append(head);
    log.append(block);
    part = null;
    fold.hidden = false;
  };
  log.addEventListener("click", (event) => {
    const head = event.target.closest("summary");
    if (head) head.parentNode.dataset.touched = "true";
  });
  fold.addEventListener("click", () => {
    const all = [...log.querySelectorAll("details")], open = all.some((d) => !d.open);
    for (const d of all) {
      d.open = open;
      d.dataset.touched = "true";
    }
  });

  const begin = () => {
    if (!part || part.childElementCount === partLines) {
      part?.classList.add("part"); // full: it may be left out of the layout
      part = document.createElement("div");
      (block ?? log).append(part);
    }
    lines++;
    const row = document.createElement("div");
    row.className = "l";
    const number = document.createElement(whole ? "a" : "i");
    number.className = "n";
    if (whole) {
      row.id = "L" + lines;
      number.href = "#L" + lines;
      number.dataset.n = lines;
      number.setAttribute("aria-label", "Line " + lines);
    }
    line = document.createElement("span");
    row.append(number, line);
    part.append(row);
    ended = false;
  };
  const write = (text) => {
    if (!style.flags && !style.color) return line.append(text);
    const piece = document.createElement("span");
    piece.className = (style.flags + (style.color.startsWith("c") ? " " + style.color : "")).trim();
    if (style.color.startsWith("rgb")) piece.style.color = style.color;
    piece.append(text);
    line.append(piece);
  };
  const finish = () => {
    line.append("\n");
    ended = true;
    const row = line.parentNode, phase = heading.exec(row.textContent), n = phases.indexOf(phase?.[1]);
    inside++;
    const over = end.exec(row.textContent);
    if (over && over[1] === phases[rank]) took = over[2];
    if (phase && (n > rank || n === 0)) enter(row, n);
    look(row);
  };
  const look = (row) => {
    const text = row.textContent;
    if (!error && failure.test(text) && !harmless.test(text)) {
      error = row;
      firstError.hidden = false;
    }
    if (find.value && text.toLowerCase().includes(find.value.toLowerCase())) hit(row);
  };
  const plain = (text) => {
    for (let from = 0; from < text.length;) {
      const to = text.indexOf("\n", from);
      if (ended) begin();
      const piece = text.slice(from, to < 0 ? text.length : to);
      if (piece) write(piece);
      if (to < 0) return;
      finish();
      from = to + 1;
    }
  };
  const print = (text) => {
    text = (held + text).replace(/\r+\n/g, "\n");
    held = (unfinished.exec(text) ?? /\r+$/.exec(text) ?? [""])[0];
    text = text.slice(0, text.length - held.length).replace(/\r+/g, "\n");
    let from = 0;
    for (const s of text.matchAll(sequence)) {
      plain(text.slice(from, s.index));
      from = s.index + s[0].length;
      if (s[2] === "m") select((s[1] || "0").split(/[;:]/).map(Number));
    }
    plain(text.slice(from));
  };

  const hit = (row) => {
    row.classList.add("hit");
    hits.push(row);
    tell();
  };
  const tell = () => (found.textContent = !find.value ? "" : hits.length === 0 ? "none" : (at < 0 ? "" : at + 1 + " of ") + hits.length);
  const show = (row) => {
    const folded = row.closest("details");
    if (folded) folded.open = true;
    row.scrollIntoView({ block: "center" });
  };
  const step = (by) => {
    if (hits.length === 0) return;
    hits[at]?.classList.remove("here");
    at = (at + by + hits.length) % hits.length;
    hits[at].classList.add("here");
    show(hits[at]);
    tell();
  };
  find.addEventListener("input", () => {
    for (const row of hits) row.classList.remove("hit", "here");
    hits = [];
    at = -1;
    const text = find.value.toLowerCase();
    if (text) for (const row of log.querySelectorAll(".l")) if (row.textContent.toLowerCase().includes(text)) hit(row);
    tell();
  });
  find.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      step(at < 0 && event.shiftKey ? 0 : event.shiftKey ? -1 : 1);
    }
  });
  firstError.addEventListener("click", () => {
    document.querySelector(".picked")?.classList.remove("picked");
    error.classList.add("picked");
    show(error);
  });
  const setWrap = (on) => {
    log.classList.toggle("wrap", on);
    wrap.setAttribute("aria-pressed", String(on));
  };
  setWrap(localStorage.getItem("troy-wrap") !== "off");
  wrap.addEventListener("click", () => {
    const on = !log.classList.contains("wrap");
    localStorage.setItem("troy-wrap", on ? "on" : "off");
    setWrap(on);
  });

  // A link to a line is followed once the line is there.
  let sought = /^#L\d+$/.test(location.hash) ? location.hash.slice(1) : "";
  const seek = () => {
    const row = sought && document.getElementById(sought);
    if (!row) return;
    sought = "";
    row.classList.add("picked");
    show(row);
  };
  addEventListener("hashchange", () => {
    document.querySelector(".picked")?.classList.remove("picked");
    const row = /^#L\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (row) show(row);
  });

  let position = log.dataset.from;
  let cut = !whole; // what comes first may be the middle of a line
  let over = false;
  const read = () => {
    const source = new EventSource(log.dataset.log + "?from=" + position);
    source.onmessage = (event) => {
      let text = JSON.parse(event.data);
      position = event.lastEventId;
      if (cut) {
        const end = text.indexOf("\n");
        if (end < 0) return;
        text = text.slice(end + 1);
        cut = false;
      }
      const running = document.querySelector("#state.busy, #state.wait");
      const follows = running && !sought && innerHeight + scrollY >= document.documentElement.scrollHeight - 40;
      print(text);
      seek();
      if (follows) scrollTo(0, document.documentElement.scrollHeight);
    };
    source.addEventListener("end", (event) => {
      over = true;
      source.close();
      settle(["failed", "cancelled", "superseded"].includes(event.data));
      if (held) {
        held = "";
        if (ended) return;
      }
      if (!ended) look(line.parentNode);
    });
    source.onerror = () => {
      // Refused, not broken: it is tried again, since it may be for a while.
      if (source.readyState === EventSource.CLOSED && !over) setTimeout(read, 3000);
    };
  };
  read();
})();

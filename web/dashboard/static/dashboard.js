"use strict";
document.documentElement.classList.add("js");

// What a visitor has opened or writes into stays as it is while the page moves.
Idiomorph.defaults.ignoreActiveValue = true;
Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) => !(node.matches?.("details[open]"));

// A stream tells when the page itself has to be asked for again.
const lost = document.getElementById("lost");
let losing = 0;
document.addEventListener("htmx:sseOpen", (event) => {
  clearTimeout(losing);
  losing = 0;
  lost.hidden = true;
  const source = event.detail.source;
  source.addEventListener("reload", () => {
    source.close();
    location.reload();
  });
});
document.addEventListener("htmx:sseError", () => {
  // A stream that ends is opened again within a second.
  losing ||= setTimeout(() => (lost.hidden = false), 2500);
});
// What was missing when the page was opened may be there once it has moved.
document.addEventListener("htmx:sseMessage", () => {
  for (const missing of document.querySelectorAll("[data-missing]")) htmx.trigger(missing.closest("[hx-get]"), "again");
});
addEventListener("pagehide", () => clearTimeout(losing));

// Over plain HTTP browsers have no navigator.clipboard.
const copied = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "sr", readOnly: true });
    document.body.append(area);
    area.select();
    try {
      return document.execCommand("copy");
    } finally {
      area.remove();
    }
  }
};
document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) copy.textContent = (await copied(copy.dataset.copy)) ? "Copied" : "Can’t copy";
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const menu = document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
  const writes = event.target.matches("input, select, textarea");
  if (event.key === "/" && !writes && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.querySelector("input[type=search]:not([hidden])");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});

// A form is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) return event.preventDefault();
  event.target.dataset.sent = "true";
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

// Where a narrow screen shows a part of the diagram, it is today's.
const scroll = document.querySelector(".scroll");
const today = scroll?.querySelector(".node.now");
if (today) {
  scroll.scrollLeft += today.getBoundingClientRect().left - scroll.getBoundingClientRect().left - scroll.clientWidth / 2 + 64;
}

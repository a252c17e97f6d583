"use strict";
// The palette: a dialog with a combobox (www.w3.org/WAI/ARIA/apg/patterns/combobox).
{
  const dialog = document.getElementById("palette");
  const input = document.getElementById("palette-input");
  const list = document.getElementById("palette-list");
  const told = document.getElementById("palette-told");
  const shortcuts = document.getElementById("shortcuts");
  const pages = [...document.querySelectorAll("#palette-pages a")].map((a) => ({ title: a.textContent, hint: "page", go: a.getAttribute("href") }));
  let shown = [];
  let picked = -1;
  let inside = null; // the items that are filtered here: of a pipeline, or to confirm
  let asked = null;

  const matches = (item, words) => words.every((w) => (item.title + " " + (item.hint ?? "")).toLowerCase().includes(w));
  const words = () => input.value.toLowerCase().split(/\s+/).filter(Boolean);

  function pick(i) {
    list.children[picked]?.setAttribute("aria-selected", "false");
    picked = i;
    const option = list.children[i];
    if (!option) return input.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option.id);
  }

  function show(items, message) {
    shown = items;
    list.replaceChildren(
      ...items.map((item, i) => {
        const option = document.createElement("li");
        option.id = "palette-" + i;
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", "false");
        const title = document.createElement("span");
        title.className = item.tone ? "status " + item.tone : "";
        title.textContent = item.title;
        const hint = document.createElement("span");
        hint.className = "sub";
        hint.textContent = item.hint ?? "";
        option.append(title, hint);
        option.addEventListener("click", () => choose(item));
        option.addEventListener("pointermove", () => picked !== i && pick(i));
        return option;
      }),
    );
    picked = -1;
    pick(items.length ? 0 : -1);
    told.textContent = message ?? (items.length ? "" : "Nothing matches.");
  }

  async function ask(address) {
    asked?.abort();
    const mine = (asked = new AbortController());
    const answer = await fetch(address, { headers: { Accept: "application/json", "HX-Request": "true" }, signal: mine.signal });
    if (answer.headers.get("HX-Redirect")) location.assign(answer.headers.get("HX-Redirect"));
    if (!answer.ok || answer.status === 204) throw new Error("the server answered " + answer.status);
    return (await answer.json()).items;
  }

  let wait = 0;
  function refresh() {
    clearTimeout(wait);
    if (inside) return show(inside.filter((item) => matches(item, words())));
    const fit = pages.filter((item) => matches(item, words()));
    wait = setTimeout(async () => {
      try {
        const found = await ask("/palette?q=" + encodeURIComponent(input.value));
        show(words().length ? [...found, ...fit] : [...fit, ...found]);
      } catch (error) {
        if (error.name !== "AbortError") show(fit, "The server does not answer; try again in a moment.");
      }
    }, 120);
    if (!shown.length) show(fit, "Searching …");
  }

  function enter(items, placeholder) {
    inside = items;
    input.value = "";
    input.placeholder = placeholder;
    show(items);
    input.focus();
  }

  async function choose(item) {
    if (!item) return;
    if (item.go) {
      dialog.close();
      return location.assign(item.go);
    }
    if (item.more) {
      try {
        enter(await ask(item.more), item.title);
      } catch (error) {
        if (error.name !== "AbortError") show([], "The server does not answer; try again in a moment.");
      }
      return;
    }
    if (item.post && item.confirm && !item.confirmed) {
      return enter([{ ...item, title: item.confirm, hint: "Enter confirms", confirmed: true }], "Escape cancels");
    }
    if (item.post) send(item);
  }

  function send(item) {
    const form = document.createElement("form");
    form.method = "post";
    form.action = item.post;
    for (const [name, value] of Object.entries(item.fields ?? {})) {
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = name;
      field.value = value;
      form.append(field);
    }
    document.body.append(form);
    form.requestSubmit();
  }

  function open() {
    if (dialog.open) return dialog.close();
    shortcuts.close();
    inside = null;
    shown = [];
    input.value = "";
    input.placeholder = "Go to a page or a pipeline …";
    dialog.showModal();
    refresh();
  }

  input.addEventListener("input", refresh);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && shown.length) {
      event.preventDefault();
      pick((picked + step + shown.length) % shown.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      choose(shown[picked]);
    } else if (event.key === "Backspace" && inside && !input.value) {
      inside = null;
      input.placeholder = "Go to a page or a pipeline …";
      refresh();
    }
  });
  dialog.addEventListener("close", () => asked?.abort());
  for (const d of [dialog, shortcuts]) d.addEventListener("click", (event) => event.target === d && d.close());
  document.getElementById("palette-open").addEventListener("click", open);
  document.getElementById("shortcuts-open").addEventListener("click", () => shortcuts.showModal());
  document.getElementById("shortcuts-close").addEventListener("click", () => shortcuts.close());
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      open();
    }
    if (event.key === "?" && !event.target.matches("input, select, textarea") && !dialog.open) {
      event.preventDefault();
      if (!shortcuts.open) shortcuts.showModal();
    }
  });
}

"use strict";
// Publishes what is dropped, by the API: the pipeline, the release by its
// files' digests, the files that Troy lacks, and the deployment until it is
// live.
(() => {
  const { size, counted } = collect;
  const el = (id) => document.getElementById(id);
  const drop = el("drop"), zone = el("zone"), review = el("review"), sending = el("sending"), done = el("done");
  const failure = el("drop-error"), bar = el("bar"), step = el("step"), rate = el("rate");
  let pipeline = drop.dataset.pipeline;
  let site = null; // what is to be published
  let stop = new AbortController();

  const show = (...shown) => {
    for (const part of [zone, review, sending, done]) part.hidden = !shown.includes(part);
  };
  const fail = (error) => {
    failure.textContent = error ? (error.message ?? String(error)) : "";
    failure.hidden = !error;
  };
  if (!globalThis.crypto?.subtle) {
    fail("Browsers publish files only over HTTPS or from localhost. Use the command line: troy release ./public --pipeline " + (pipeline || "my-site"));
    return;
  }
  show(zone);

  // --- choosing ---
  const chosen = async (name, find) => {
    fail();
    stop = new AbortController();
    zone.classList.add("busy");
    try {
      site = await find(stop.signal);
      if (site.files.length === 0) throw new Error(site.leftOut.size > 0 ? "All of the files were left out: " + some(site.leftOut) : name + " has no files.");
      propose(name);
    } catch (error) {
      fail(error);
      show(zone);
    } finally {
      zone.classList.remove("busy", "over");
    }
  };
  const some = (set) => {
    const list = [...set].slice(0, 5).join(", ");
    return set.size > 5 ? `${list} and ${set.size - 5} more` : list;
  };
  const stem = (name) => name.replace(/\.zip$/i, "");
  const files = (list) => {
    if (list.length === 0) return;
    if (list.length === 1 && /\.zip$/i.test(list[0].name)) return chosen(list[0].name, () => collect.zipped(list[0]));
    return chosen(list[0].webkitRelativePath.split("/", 1)[0] || list[0].name, async () => collect.chosen(list));
  };
  for (const [button, input] of [["pick-folder", "folder"], ["pick-zip", "zip"]]) {
    el(button).addEventListener("click", () => el(input).click());
    el(input).addEventListener("change", async (event) => {
      await files([...event.target.files]);
      event.target.value = "";
    });
  }
  // Anything dropped on the page is for the zone: a browser would open it.
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? zone.classList.remove("over"));
  addEventListener("drop", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.remove("over");
    if (zone.hidden) return;
    drop.scrollIntoView({ block: "nearest" });
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const zip = entries.length === 1 && entries[0].isFile && /\.zip$/i.test(entries[0].name);
    if (zip || entries.length === 0) return files([...event.dataTransfer.files]);
    return chosen(entries[0].name, (signal) => collect.dropped(entries, signal));
  });

  // --- reviewing ---
  const propose = (name) => {
    el("summary").textContent = `${name}: ${counted(site.files.length, "file")}, ${size(site.bytes)}`;
    const notes = [];
    const paths = new Set(site.files.map((f) => f.path));
    if (!paths.has("index.html")) {
      const near = site.files.map((f) => f.path).filter((p) => p.endsWith("/index.html")).sort((a, b) => a.split("/").length - b.split("/").length)[0];
      notes.push(["warn", "There is no index.html, so the site’s home page would be missing." + (near ? ` The nearest one is ${near}: drop its folder instead.` : "")]);
    }
    const folded = new Map();
    for (const path of paths) {
      const twin = folded.get(path.toLowerCase());
      if (twin) {
        notes.push(["warn", `${twin} and ${path} differ only in case.`]);
        break;
      }
      folded.set(path.toLowerCase(), path);
    }
    if (site.leftOut.size > 0) notes.push(["", "Left out: " + some(site.leftOut)]);
    el("notes").replaceChildren(...notes.map(([tone, text]) => Object.assign(document.createElement("li"), { className: tone, textContent: text })));
    if (el("site-name") && !el("site-name").value) {
      el("site-name").value = stem(name);
      suggest();
    }
    show(review);
    (el("site-name") ?? el("publish")).focus();
  };
  el("again").addEventListener("click", () => {
    fail();
    show(zone);
  });

  let own = false; // the slug was typed
  let asked = 0;
  const ask = async (query) => {
    const mine = ++asked;
    const answer = await fetch("/new/slug?" + new URLSearchParams(query)).then((r) => (r.ok ? r.json() : null), () => null);
    return mine === asked ? answer : null;
  };
  const problem = (text) => {
    el("slug-problem").textContent = text ?? "";
    el("slug").setAttribute("aria-invalid", String(Boolean(text)));
  };
  const command = () => {
    const slug = el("slug").value || "my-site", name = JSON.stringify(el("site-name").value || "My site");
    document.querySelectorAll("[data-slug]").forEach((e) => (e.textContent = slug));
    document.querySelectorAll("[data-name]").forEach((e) => (e.textContent = name));
    const lines = document.querySelector("pre.lines");
    if (lines) el("cli").dataset.copy = lines.textContent;
  };
  const suggest = async () => {
    if (!own) {
      const answer = await ask({ name: el("site-name").value });
      if (answer) {
        el("slug").value = answer.slug;
        problem();
      }
    }
    command();
  };
  let pause = 0;
  const later = (f) => (event) => {
    clearTimeout(pause);
    pause = setTimeout(f, 200, event);
  };
  el("site-name")?.addEventListener("input", later(suggest));
  el("slug")?.addEventListener("input", (event) => {
    own = event.target.value !== "";
    command();
  });
  el("slug")?.addEventListener("input", later(async () => {
    if (el("slug").value) problem((await ask({ slug: el("slug").value }))?.problem);
  }));

  // --- the API ---
  class Refusal extends Error {
    constructor(problem, status) {
      super([problem.detail ?? "Troy answered " + status, ...(problem.details ?? []).slice(0, 5)].join("\n"));
      Object.assign(this, { status, field: problem.field ?? "" });
    }
  }
  const refusal = (status, text) => {
    let problem = {};
    try {
      problem = JSON.parse(text);
    } catch { /* a proxy's answer */ }
    if (status === 401) problem.detail = "Your session has ended. Sign in again in another tab, and come back to publish.";
    return new Refusal(problem, status);
  };
  const passing = (status) => status === 0 || status === 429 || status >= 500;
  const wait = (ms) => new Promise((go, abort) => {
    stop.signal.throwIfAborted();
    const timer = setTimeout(go, ms);
    stop.signal.addEventListener("abort", () => (clearTimeout(timer), abort(stop.signal.reason)), { once: true });
  });
  const attempts = 7;
  const patient = async (call) => {
    for (let n = 1; ; n++) {
      try {
        return await call();
      } catch (error) {
        stop.signal.throwIfAborted();
        if (n === attempts || !(error instanceof TypeError) && !passing(error.status ?? -1)) throw error instanceof TypeError ? new Error("Troy can’t be reached. Try again.") : error;
        await wait(Math.min(500 * 2 ** (n - 1), 8000));
      }
    }
  };
  const api = (method, path, body) => {
    const headers = { "X-Troy-Page": "1" };
    if (method === "POST") Object.assign(headers, { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() });
    return patient(async () => {
      const answer = await fetch("/v1/pipelines" + path, { method, headers, body: body && JSON.stringify(body), signal: stop.signal });
      const text = await answer.text();
      if (!answer.ok) throw refusal(answer.status, text);
      return JSON.parse(text);
    });
  };
  const put = (path, blob, moved) => patient(() => new Promise((ok, fail) => {
    const request = new XMLHttpRequest();
    let sent = 0;
    const told = (n) => {
      moved(n - sent);
      sent = n;
    };
    request.open("PUT", "/v1/pipelines" + path);
    request.setRequestHeader("X-Troy-Page", "1");
    request.upload.onprogress = (event) => told(Math.min(event.loaded, blob.size));
    request.onload = request.onerror = request.onabort = () => {
      stop.signal.removeEventListener("abort", abort);
      if (request.status === 204) {
        told(blob.size);
        return ok();
      }
      told(0);
      fail(refusal(request.status, request.responseText));
    };
    const abort = () => request.abort();
    stop.signal.addEventListener("abort", abort);
    request.send(blob);
  }));

  // each calls f for all items, few at a time and so that what is open fits
  // into memory.
  const atOnce = 6, inMemory = 256 << 20;
  const each = async (items, f) => {
    let next = 0, held = 0, waiting = [];
    const worker = async () => {
      while (next < items.length) {
        stop.signal.throwIfAborted();
        const item = items[next++];
        while (held > 0 && held + item.size > inMemory) await new Promise((go) => waiting.push(go));
        held += item.size;
        try {
          await f(item);
        } catch (error) {
          next = items.length;
          throw error;
        } finally {
          held -= item.size;
          waiting.splice(0).forEach((go) => go());
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  };
  const opened = async (file) => {
    try {
      return await file.open();
    } catch (error) {
      throw new Error(`${file.path} can’t be read: ${error.message}`);
    }
  };

  // --- publishing ---
  const perFile = 16 << 10;
  const lasts = (seconds) => (seconds < 90 ? Math.ceil(seconds) + " s" : Math.ceil(seconds / 60) + " min");
  const progress = (label, count, bytes) => {
    const begun = performance.now();
    let files = 0, moved = 0, drawn = 0;
    return (file, more) => {
      files += file;
      moved += more;
      const now = performance.now();
      if (now - drawn < 100 && files < count) return;
      drawn = now;
      const seconds = Math.max(0.2, (now - begun) / 1000), speed = moved / seconds;
      // A small file takes as long as some bytes of a large one.
      const work = moved + files * perFile, whole = bytes + count * perFile;
      bar.value = work / Math.max(1, whole);
      step.textContent = `${label} ${files.toLocaleString("en")} of ${counted(count, "file")}`;
      rate.textContent = `${size(moved)} of ${size(bytes)}, ${size(Math.round(speed))}/s` + (work > 0 && work < whole ? `, ${lasts(((whole - work) * seconds) / work)} left` : "");
    };
  };
  const hash = async () => {
    const tell = progress("Reading", site.files.length, site.bytes);
    await each(site.files, async (file) => {
      if (!file.sha256) {
        const data = await (await opened(file)).arrayBuffer();
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
        Object.assign(file, { sha256: Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join(""), size: data.byteLength });
      }
      tell(1, file.size);
    });
  };
  const upload = async (release) => {
    const known = new Map(site.files.map((f) => [f.sha256, f]));
    const missing = release.missing.map((m) => known.get(m.sha256));
    const tell = progress("Uploading", missing.length, missing.reduce((sum, f) => sum + f.size, 0));
    await each(missing, async (file) => {
      await put(`/${pipeline}/releases/${release.id}/files/${file.sha256}?secrets=refuse`, await opened(file), (n) => tell(0, n));
      tell(1, 0);
    });
  };
  const link = (to, text, name) => Object.assign(document.createElement("a"), { href: to, textContent: text, className: name });
  const ended = (d, ...head) => {
    const page = `/pipelines/${pipeline}/deployments/${d.number}`;
    const big = Object.assign(document.createElement("p"), { className: "big" });
    const more = Object.assign(document.createElement("p"), { className: "actions" });
    big.append(...head);
    if (d.state === "succeeded" && d.url) more.append(link(d.url, "Open the site", "button primary"));
    more.append(link(page, `Deployment #${d.number}`, "button"), link("/pipelines/" + pipeline, "Pipeline", "button"));
    done.replaceChildren(big, more);
    show(done);
  };
  const follow = async (d) => {
    bar.removeAttribute("value");
    const page = `/pipelines/${pipeline}/deployments/${d.number}`;
    for (let pause = 300; !["succeeded", "failed", "cancelled", "superseded"].includes(d.state); pause = Math.min(pause * 1.5, 2000)) {
      step.textContent = d.state === "waiting" ? "Waiting for its turn" : "Going live";
      rate.textContent = d.hint ?? "";
      await wait(pause);
      d = await api("GET", `/${pipeline}/deployments/${d.id}`);
    }
    if (d.state === "succeeded") {
      const rules = await api("GET", `/${pipeline}/deployments/${d.id}/rules`).catch(() => null);
      ended(d, "Live at ", link(d.url || page, d.url || page, "live"));
      if (!rules?.errors && !rules?.warnings) return;
      const note = Object.assign(document.createElement("p"), { className: "note warn" });
      note.append(link(page + "#h-rules", counted(rules.errors + rules.warnings, "problem") + " in the site’s rules"));
      return done.firstChild.after(note);
    }
    ended(d, `Deployment #${d.number} is ${d.state}` + (d.cause ? ": " + d.cause : "") + ".");
  };
  const publish = async () => {
    step.textContent = "Creating the pipeline";
    rate.textContent = "";
    if (!pipeline) {
      const made = await api("POST", "", { name: el("site-name").value, slug: el("slug").value });
      pipeline = made.slug;
      el("site-name").disabled = el("slug").disabled = true;
    }
    await hash();
    step.textContent = "Comparing with what Troy has";
    rate.textContent = "";
    const release = await api("POST", `/${pipeline}/releases`, { files: site.files.map(({ path, size, sha256 }) => ({ path, size, sha256 })), message: el("message").value });
    await upload(release);
    el("cancel").hidden = true; // from now on it may go live
    const d = await api("POST", `/${pipeline}/releases/${release.id}/finalize`, {});
    try {
      await follow(d);
    } catch {
      // It is accepted all the same: published again, it would be made twice.
      ended(d, `Deployment #${d.number} was accepted. This page can’t follow it any more; look at the deployment.`);
    }
  };
  const leaving = (event) => event.preventDefault();
  review.addEventListener("submit", async (event) => {
    event.preventDefault();
    fail();
    stop = new AbortController();
    bar.value = 0;
    el("cancel").hidden = false;
    show(sending);
    addEventListener("beforeunload", leaving);
    try {
      await publish();
    } catch (error) {
      show(review);
      const aborted = stop.signal.aborted;
      stop.abort();
      if (aborted) fail("Cancelled. Nothing was published. Files that were sent are not sent again.");
      else if (error.field === "slug") problem(error.message);
      else fail(error);
    } finally {
      removeEventListener("beforeunload", leaving);
    }
  });
  el("cancel").addEventListener("click", () => stop.abort());
})();

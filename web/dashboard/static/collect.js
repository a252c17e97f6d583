"use strict";
// What was dropped or chosen becomes a list of a site's files: each with its
// path, its size and a function that opens it. Nothing is read yet.
const collect = (() => {
  const drop = document.getElementById("drop");
  const limit = { files: +drop.dataset.files, file: +drop.dataset.fileBytes, total: +drop.dataset.totalBytes, ratio: +drop.dataset.ratio };
  const secrets = Object.entries(JSON.parse(drop.dataset.secrets)).flatMap(([why, patterns]) =>
    patterns.map((p) => [why, new RegExp("^" + p.replace(/[.+^$(){}|[\]\\]/g, "\\$&").replace(/\*/g, "[^/]*") + "$")]));

  const size = (n) => {
    if (n < 1024) return n + " B";
    let unit = -1;
    do { n /= 1024; unit++; } while (n >= 1024 && unit < 3);
    return n.toFixed(1) + " " + ["KiB", "MiB", "GiB", "TiB"][unit];
  };
  const counted = (n, one) => n.toLocaleString("en") + " " + one + (n === 1 ? "" : "s");

  // The rules of the command line: some names are never listed, others are
  // left out and listed (docs/cli.md).
  const silent = (name) => name === ".git" || name === ".DS_Store" || name === "__MACOSX" || name.startsWith("._");
  const needless = (name) => ![".well-known", ".", ".."].includes(name) && (name.startsWith(".") || ["node_modules", "bower_components", "Thumbs.db", "desktop.ini"].includes(name));
  const secret = (name) => secrets.find(([, form]) => form.test(name.toLowerCase()))?.[0];

  class Collection {
    files = [];
    leftOut = new Set();
    bytes = 0;

    // takes reports whether a file or folder below the root is part of the
    // site, and notes it if not.
    takes(path) {
      let at = 0;
      for (;;) {
        const end = path.indexOf("/", at);
        const name = path.slice(at, end < 0 ? undefined : end);
        if (silent(name)) return false;
        if (needless(name) || (end < 0 && secret(name))) {
          this.leftOut.add(end < 0 ? path : path.slice(0, end + 1));
          if (name === ".troyignore" && end < 0 && at === 0)
            throw new Error("The folder has a .troyignore, which only the command line follows. Remove it, or use troy release.");
          return false;
        }
        if (end < 0 || end === path.length - 1) return true;
        at = end + 1;
      }
    }

    add(path, bytes, open) {
      if (this.files.length === limit.files)
        throw new Error(`There are more than ${limit.files.toLocaleString("en")} files; a site can have at most ${limit.files.toLocaleString("en")}. Nothing was sent.`);
      if (!path.isWellFormed()) throw new Error(`The name of ${JSON.stringify(path)} is not valid UTF-8. Rename the file.`);
      if (bytes > limit.file) throw new Error(`${path} has ${size(bytes)}; a file can have at most ${size(limit.file)}.`);
      if ((this.bytes += bytes) > limit.total) throw new Error(`The files have more than ${size(limit.total)}, the most that a site can have.`);
      this.files.push({ path, size: bytes, open });
    }
  }

  // below is a path without its first folder.
  const below = (path) => path.slice(path.indexOf("/") + 1);

  const chosen = (list) => {
    const c = new Collection();
    // A chosen folder's own name is not part of the site.
    for (const file of list) {
      const path = file.webkitRelativePath ? below(file.webkitRelativePath) : file.name;
      if (c.takes(path)) c.add(path, file.size, async () => file);
    }
    return c;
  };

  const maxVisited = 400000;
  const dropped = async (entries, signal) => {
    const c = new Collection();
    const alone = entries.length === 1 && entries[0].isDirectory;
    const promised = (f) => new Promise(f);
    let visited = 0;
    const pending = alone ? [] : entries.map((e) => [e.name, e]);
    const list = async (folder, prefix) => {
      const reader = folder.createReader();
      for (;;) {
        const some = await promised((done, fail) => reader.readEntries(done, fail));
        if (some.length === 0) return;
        for (const e of some) pending.push([prefix + e.name, e]);
        if ((visited += some.length) > maxVisited) throw new Error(`There are more than ${maxVisited.toLocaleString("en")} files and folders. Nothing was sent.`);
      }
    };
    if (alone) await list(entries[0], "");
    while (pending.length > 0) {
      signal.throwIfAborted();
      const [path, entry] = pending.pop();
      if (!c.takes(entry.isDirectory ? path + "/" : path)) continue;
      if (entry.isDirectory) {
        await list(entry, path + "/");
        continue;
      }
      const file = await promised((done, fail) => entry.file(done, fail));
      c.add(path, file.size, async () => file);
    }
    return c;
  };

  // utf8 refuses names that are not UTF-8, which would become others.
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  const zipped = async (file) => {
    let entries;
    try {
      ({ entries } = await unzipit.unzipRaw(file));
    } catch (error) {
      throw new Error(`${file.name} can't be read as a zip: ${error.message}`);
    }
    const list = [];
    for (const e of entries) {
      let name;
      try {
        name = utf8.decode(e.nameBytes);
      } catch {
        throw new Error(`The name of ${JSON.stringify(e.name)} in ${file.name} is not valid UTF-8. Make the zip again, with names in UTF-8.`);
      }
      if (e.isDirectory || name.endsWith("/")) continue;
      if (e.encrypted) throw new Error(`${name} in ${file.name} is encrypted. Make the zip again, without a password.`);
      if (((e.externalFileAttributes >>> 16) & 0xf000) === 0xa000) throw new Error(`${name} in ${file.name} is a link. Replace it by the file that it points to.`);
      list.push([name, e]);
      if (list.length > maxVisited) throw new Error(`There are more than ${maxVisited.toLocaleString("en")} files. Nothing was sent.`);
    }
    const folder = list.filter(([name]) => !silent(name.split("/", 1)[0]));
    const only = folder.length > 0 && folder.every(([name]) => name.startsWith(folder[0][0].split("/", 1)[0] + "/") && name.includes("/"));
    const c = new Collection();
    for (const [name, e] of only ? folder : list) {
      const path = only ? below(name) : name;
      if (c.takes(path)) c.add(path, e.size, () => e.blob());
    }
    if (c.bytes > limit.ratio * file.size + (1 << 20))
      throw new Error(`${file.name} unpacks to ${size(c.bytes)}, more than ${limit.ratio} times its size. It is not a site.`);
    return c;
  };

  return { chosen, dropped, zipped, size, counted };
})();

// Cards at links to terms, names that are spelled almost right in the search, progress on learning paths, and the picture
// of how terms are related. All are extras: without this file the links, the lists and the pages are the same.
(() => {
  "use strict";
  const base = new URL("..", document.currentScript.src);
  const load = (name) => fetch(new URL(name, base)).then((found) => (found.ok ? found.json() : Promise.reject(found)));
  const make = (tag, attributes = {}, ...children) => {
    const made = tag.startsWith("svg:")
      ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  // Where the theme leaves a name out, or a wide table out of the keyboard's reach.
  document.querySelector("[data-md-component=search]")?.setAttribute("aria-label", "Search");
  const mend = () => {
    document.querySelectorAll(".md-code__nav").forEach((bar, at) => bar.setAttribute("aria-label", `Code ${at + 1}`));
    for (const wide of document.querySelectorAll(".md-typeset__scrollwrap")) wide.tabIndex = 0;
  };
  addEventListener("load", () => setTimeout(mend));

  // ---- a demo within the page ----
  for (const button of document.querySelectorAll(".ft-embed")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = document.body.dataset.mdColorScheme === "slate" ? "dark" : "light";
      const src = new URL(button.dataset.demo, location.href);
      src.searchParams.set("__theme", dark);
      const frame = make("iframe", { src: src.href, class: "ft-demo", title: "Live demo", allow: "clipboard-write" });
      button.parentElement.after(frame);
      button.remove();
      frame.focus();
    });
  }

  // ---- cards ----
  let cards = null;
  let open = null; // the link whose card is shown
  let waiting = 0;
  const card = make("div", { class: "ft-card", id: "ft-card", role: "tooltip", hidden: "" });

  const term = (link) => {
    const url = new URL(link.href, location.href);
    if (!url.href.startsWith(base.href)) return null;
    const place = url.href.slice(base.href.length).replace(/[#?].*$/, "");
    const here = location.href.slice(base.href.length).replace(/[#?].*$/, "");
    return place.startsWith("terms/") && place !== here && place !== "terms/" ? place : null;
  };

  const known = () => (cards ??= load("assets/derived/cards.json").catch(() => ({})));

  const show = async (link, { touch = false } = {}) => {
    const found = (await known())[term(link)];
    if (!found || !link.isConnected) return;
    hide();
    card.replaceChildren(
      make("p", { class: "ft-card-term" }, make("strong", {}, found.term), " ", make("span", {}, found.level)),
      make("p", {}, found.summary),
    );
    if (touch) card.append(make("a", { href: link.href, class: "ft-card-more" }, `Read about ${found.term}`));
    document.body.append(card);
    card.hidden = false;
    link.setAttribute("aria-describedby", "ft-card");
    open = link;
    const box = link.getBoundingClientRect();
    const wide = Math.min(360, innerWidth - 24);
    card.style.width = `${wide}px`;
    card.style.left = `${Math.max(12, Math.min(box.left, innerWidth - wide - 12)) + scrollX}px`;
    const below = box.bottom + card.offsetHeight + 12 < innerHeight;
    card.style.top = `${(below ? box.bottom + 6 : box.top - card.offsetHeight - 6) + scrollY}px`;
  };

  const hide = () => {
    clearTimeout(waiting);
    open?.removeAttribute("aria-describedby");
    open = null;
    card.hidden = true;
  };

  const later = (what, after) => {
    clearTimeout(waiting);
    waiting = setTimeout(what, after);
  };

  const linkOf = (target) => target instanceof Element && target.closest(".md-content a[href]");

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = linkOf(event.target);
    if (link && term(link)) later(() => show(link), 250);
    else if (card.contains(event.target)) clearTimeout(waiting);
    else if (open) later(hide, 200);
    else clearTimeout(waiting);
  });
  document.addEventListener("focusin", (event) => {
    const link = linkOf(event.target);
    if (link && term(link) && link.matches(":focus-visible")) show(link);
    else if (open && !card.contains(event.target)) hide();
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  let touched = false;
  document.addEventListener("pointerdown", (event) => (touched = event.pointerType === "touch"), true);
  document.addEventListener("click", (event) => {
    const link = linkOf(event.target);
    if (touched && link && term(link) && link !== open && link.closest("p, li, dd") && !link.closest(".ft-index, .ft-related")) {
      event.preventDefault(); // the first tap says what it is, the second goes there
      show(link, { touch: true });
    } else if (!card.contains(event.target)) hide();
  });

  // ---- search ----
  // Whether one letter more, less or other, or two that changed places, turns one word into the other.
  const near = (one, other) => {
    let start = 0;
    let end = 0;
    const shorter = Math.min(one.length, other.length);
    while (start < shorter && one[start] === other[start]) start++;
    while (end < shorter - start && one.at(-1 - end) === other.at(-1 - end)) end++;
    const [a, b] = [one, other].map((word) => word.slice(start, word.length - end));
    return Math.max(a.length, b.length) <= 1 || (a.length === 2 && a === b[1] + b[0]);
  };
  const plain = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  let names = null; // of all terms, as they are compared
  const meant = make("p", { class: "ft-meant", role: "status" });
  document.querySelector("[data-md-component=search-query]")?.addEventListener("input", async (event) => {
    const asked = plain(event.target.value);
    names ??= Object.entries(await known()).flatMap(([place, { term, names }]) =>
      [term, ...names].map((name) => ({ place, term, name: plain(name) })),
    );
    const exact = names.some(({ name }) => name.startsWith(asked));
    const found = asked.length < 3 || exact ? [] : names.filter(({ name }) => near(asked, name));
    const links = new Map(found.map(({ place, term }) => [place, make("a", { href: new URL(place, base) }, term)]));
    const said = [...links.values()].flatMap((link, at) => [at ? " or " : "Do you mean ", link]);
    meant.replaceChildren(...said, links.size ? "?" : "");
    if (links.size) document.querySelector("[data-md-component=search-result]")?.before(meant);
  });

  // ---- learning paths ----
  const store = {
    read: () => {
      try {
        return new Set(JSON.parse(localStorage.getItem("ft-read") ?? "[]"));
      } catch {
        return new Set();
      }
    },
    write: (read) => {
      try {
        localStorage.setItem("ft-read", JSON.stringify([...read]));
      } catch {
        // private browsing keeps nothing
      }
    },
  };

  for (const path of document.querySelectorAll(".ft-path")) {
    const bar = make("progress", { max: "1", value: "0", "aria-label": "How much of this path you have read" });
    const said = make("span", { class: "ft-path-said" });
    const steps = [...path.querySelectorAll("a[data-step]")];
    const tell = () => {
      const read = store.read();
      const count = steps.filter((step) => read.has(step.dataset.step)).length;
      bar.max = steps.length;
      bar.value = count;
      said.textContent = `${count} of ${steps.length} read`;
      for (const box of path.querySelectorAll("input")) box.checked = read.has(box.value);
    };
    for (const step of steps) {
      const box = make("input", { type: "checkbox", value: step.dataset.step, "aria-label": `I have read ${step.textContent}` });
      box.addEventListener("change", () => {
        const read = store.read();
        box.checked ? read.add(box.value) : read.delete(box.value);
        store.write(read);
        document.dispatchEvent(new Event("ft-read"));
      });
      step.before(box, " ");
    }
    path.prepend(make("p", { class: "ft-path-bar" }, bar, " ", said));
    document.addEventListener("ft-read", tell);
    tell();
  }

  // ---- the map of terms ----
  const place = document.querySelector(".ft-network");
  if (place) load("assets/derived/graph.json").then((data) => draw(place, data)).catch(() => {});

  const draw = (place, { levels, nodes, edges }) => {
    const [width, height, edge] = [1000, 900, 80];
    const at = new Map(nodes.map((node) => [node.slug, [edge + node.x * (width - 2 * edge), 30 + node.y * (height - 60)]]));
    const near = new Map(nodes.map((node) => [node.slug, new Set([node.slug])]));
    for (const [a, b] of edges) {
      near.get(a).add(b);
      near.get(b).add(a);
    }
    const lines = edges.map(([a, b]) => {
      const [[x1, y1], [x2, y2]] = [at.get(a), at.get(b)];
      const line = make("svg:line", { x1, y1, x2, y2 });
      line.dataset.ends = `${a} ${b}`;
      return line;
    });
    const marks = nodes.map((node) => {
      const [x, y] = at.get(node.slug);
      const size = 4 + Math.sqrt(near.get(node.slug).size) * 1.6;
      const mark = make(
        "svg:a",
        { href: new URL(`terms/${node.slug}/`, base).href, class: `ft-node ft-at-${node.level}` },
        make("svg:circle", { cx: x, cy: y, r: size }),
        make("svg:text", { x, y: y - size - 4, "text-anchor": "middle" }, node.term),
      );
      mark.dataset.slug = node.slug;
      return mark;
    });
    const picture = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, class: "ft-net", role: "group", "aria-label": "Map of terms; the list below contains the same relations" }, ...lines, ...marks);
    const single = (slug) => {
      picture.classList.toggle("ft-single", Boolean(slug));
      for (const mark of marks) mark.classList.toggle("ft-near", Boolean(slug) && near.get(slug).has(mark.dataset.slug));
      for (const line of lines) line.classList.toggle("ft-near", Boolean(slug) && line.dataset.ends.split(" ").includes(slug));
    };
    for (const mark of marks) {
      for (const begin of ["pointerenter", "focus"]) mark.addEventListener(begin, () => single(mark.dataset.slug));
      for (const end of ["pointerleave", "blur"]) mark.addEventListener(end, () => single(""));
    }
    const key = Object.entries(levels).map(([level, name]) =>
      make("span", {}, make("svg:svg", { viewBox: "0 0 12 12", class: `ft-dot ft-at-${level}`, "aria-hidden": "true" }, make("svg:circle", { cx: 6, cy: 6, r: 5 })), ` ${name}`),
    );
    place.replaceChildren(make("p", { class: "ft-key" }, ...key), picture);
  };
})();

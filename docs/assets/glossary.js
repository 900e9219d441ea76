// Cards at links to terms, names that are spelled almost right in the search, progress on learning paths, and zoom and
// neighbours on the map of terms. All are extras: without this file the links, the map and the pages are the same.
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
    const url = new URL(link.getAttribute("href"), location.href); // of a link in a picture, too
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
    if (touch) card.append(make("a", { href: link.getAttribute("href"), class: "ft-card-more" }, `Read about ${found.term}`));
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
    if (link?.closest(".ft-net")) return; // a card would cover the neighbours
    if (link && term(link)) later(() => show(link), 250);
    else if (card.contains(event.target)) clearTimeout(waiting);
    else if (open) later(hide, 200);
    else clearTimeout(waiting);
  });
  document.addEventListener("focusin", (event) => {
    const link = linkOf(event.target);
    if (link && term(link) && link.matches(":focus-visible") && !link.closest(".ft-net")) show(link);
    else if (open && !card.contains(event.target)) hide();
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  let touched = false;
  document.addEventListener("pointerdown", (event) => (touched = event.pointerType === "touch"), true);
  document.addEventListener("click", (event) => {
    const link = linkOf(event.target);
    if (touched && link && term(link) && link !== open && link.closest("p, li, dd, .ft-net") && !link.closest(".ft-index, .ft-related")) {
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
  const explore = (map) => {
    const [view, picture] = [map.querySelector(".ft-map-view"), map.querySelector(".ft-net")];
    const marks = [...map.querySelectorAll(".ft-node")];
    const lines = [...map.querySelectorAll("[data-ends]")].map((line) => [line, line.dataset.ends.split(" ")]);
    const single = (slug) => {
      const near = new Set(lines.flatMap(([, ends]) => (ends.includes(slug) ? ends : [])).concat(slug ?? []));
      picture.classList.toggle("ft-single", Boolean(slug));
      for (const mark of marks) mark.classList.toggle("ft-near", near.has(mark.dataset.slug));
      for (const [line, ends] of lines) line.classList.toggle("ft-near", ends.includes(slug));
    };
    for (const mark of marks) {
      for (const begin of ["pointerenter", "focus"]) mark.addEventListener(begin, () => single(mark.dataset.slug));
      mark.addEventListener("pointerleave", (event) => event.pointerType === "touch" || single(null));
      mark.addEventListener("blur", () => single(null));
    }

    // The picture grows in a frame of a fixed size, which the browser scrolls by wheel, finger and arrow keys.
    let scale = 1;
    const zoom = (wanted, x = view.clientWidth / 2, y = view.clientHeight / 2) => {
      view.style.height = `${view.getBoundingClientRect().height}px`;
      const before = picture.getBoundingClientRect();
      const whole = Math.min(1, (view.clientWidth / before.width) * scale);
      scale = Math.min(4, Math.max(whole, wanted));
      picture.style.setProperty("--ft-zoom", scale);
      const grown = picture.getBoundingClientRect().width / before.width;
      view.scrollLeft = (view.scrollLeft + x) * grown - x;
      view.scrollTop = (view.scrollTop + y) * grown - y;
    };
    const steps = { in: () => zoom(scale * 1.4), out: () => zoom(scale / 1.4), all: () => zoom(0) };
    for (const button of map.querySelectorAll("[data-zoom]")) button.addEventListener("click", steps[button.dataset.zoom]);
    map.addEventListener("keydown", (event) => {
      const step = { "+": "in", "=": "in", "-": "out", 0: "all" }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      steps[step]();
    });
    const inView = ({ clientX, clientY }) => {
      const box = view.getBoundingClientRect();
      return [clientX - box.left, clientY - box.top];
    };
    view.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return; // two fingers on a touchpad, too
        event.preventDefault();
        zoom(scale * Math.exp(-event.deltaY / 200), ...inView(event));
      },
      { passive: false },
    );
    let fingers = null; // how far two fingers are apart, and the scale at which they began
    view.addEventListener(
      "touchmove",
      (event) => {
        if (event.touches.length !== 2) return;
        event.preventDefault();
        const [one, other] = event.touches;
        const apart = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        fingers ??= { apart, scale };
        const middle = { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 };
        zoom((fingers.scale * apart) / fingers.apart, ...inView(middle));
      },
      { passive: false },
    );
    for (const end of ["touchend", "touchcancel"]) view.addEventListener(end, () => (fingers = null));

    let drag = null; // where the mouse went down, and whether it has moved since
    view.addEventListener("dragstart", (event) => event.preventDefault());
    view.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) drag = { x: event.clientX, y: event.clientY, moved: false };
    });
    addEventListener("pointermove", (event) => {
      if (!drag) return;
      const [across, down] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.moved && Math.hypot(across, down) < 5) return;
      view.scrollBy(-across, -down);
      drag = { x: event.clientX, y: event.clientY, moved: true };
    });
    addEventListener("pointerup", () => setTimeout(() => (drag = null)));
    view.addEventListener("click", (event) => drag?.moved && event.preventDefault(), true);
    map.classList.add("ft-ready");
  };
  document.querySelectorAll(".ft-map").forEach(explore);
})();

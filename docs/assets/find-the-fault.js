// Makes a question of each run on the page "Find the fault": its causes become buttons, the answer is shown once the cause
// is found, and the browser remembers what was found. Without this file the page lists the causes and folds the answers.

const KEY = "ft-faults";

/** The causes that were chosen for each run, in order: the last is the right one where the run is solved. */
const store = {
  read() {
    try {
      const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
      return found && typeof found === "object" ? found : {};
    } catch {
      return {};
    }
  },
  write(chosen) {
    try {
      localStorage.setItem(KEY, JSON.stringify(chosen));
    } catch {
      // private browsing keeps nothing
    }
  },
};

const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

const cases = [...document.querySelectorAll(".ft-fault")].map((place) => new (class {
  name = place.dataset.fault;
  cause = place.dataset.cause;
  said = place.querySelector(".ft-fault-said");
  answer = place.querySelector(".ft-fault-answer");
  buttons = new Map();

  constructor() {
    for (const item of place.querySelectorAll(".ft-causes > li")) {
      const button = make("button", { type: "button", textContent: item.textContent });
      button.addEventListener("click", () => choose(this, item.dataset.cause));
      item.replaceChildren(button);
      this.buttons.set(item.dataset.cause, button);
    }
    place.classList.add("ft-asks-now");
  }

  whyNot(cause) {
    return place.querySelector(`.ft-why-not [data-cause="${cause}"] span`)?.textContent ?? "";
  }

  /** Show what was chosen so far. */
  show(chosen) {
    const last = chosen.at(-1);
    for (const [cause, button] of this.buttons) {
      const mark = !chosen.includes(cause) ? "" : cause === this.cause ? "✓ Right: " : "✗ Not this: ";
      button.replaceChildren(mark && make("strong", { textContent: mark }), button.dataset.says ??= button.textContent);
      button.classList.toggle("ft-right", mark.startsWith("✓"));
      button.classList.toggle("ft-wrong", mark.startsWith("✗"));
    }
    this.answer.open = last === this.cause;
    if (!last) this.said.textContent = "";
    else if (last === this.cause) this.said.textContent = "Found. The reason is below.";
    else this.said.textContent = `Not this one. ${this.whyNot(last)} Choose again.`;
  }
})());

const count = make("span", { className: "ft-path-said" });
const bar = make("progress", { max: cases.length || 1, value: 0 });
bar.setAttribute("aria-label", "How many faults you have found");
const again = make("button", { type: "button", textContent: "Start again", className: "ft-again" });

const tell = (chosen) => {
  const solved = cases.filter((one) => chosen[one.name]?.includes(one.cause));
  const first = solved.filter((one) => chosen[one.name][0] === one.cause).length;
  bar.value = solved.length;
  count.textContent = `${solved.length} of ${cases.length} found${solved.length ? `, ${first} at the first try` : ""}`;
};

const choose = (one, cause) => {
  const chosen = store.read();
  const before = chosen[one.name] ?? [];
  if (before.includes(one.cause)) return; // found already: the marks stay
  chosen[one.name] = [...before.filter((other) => other !== cause), cause];
  store.write(chosen);
  one.show(chosen[one.name]);
  tell(chosen);
};

again.addEventListener("click", () => {
  store.write({});
  for (const one of cases) one.show([]);
  tell({});
});

if (cases.length) {
  const chosen = store.read();
  for (const one of cases) one.show(chosen[one.name] ?? []);
  tell(chosen);
  document.querySelector(".ft-fault").previousElementSibling.before(make("p", { className: "ft-fault-bar" }, bar, " ", count, " ", again));
}

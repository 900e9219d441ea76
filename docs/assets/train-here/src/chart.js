// The loss while a model trains: axes with units, and values to read by mouse, finger or keyboard.

import { make, range } from "./dom.js";

/** @typedef {[number, number]} Point A step and its loss, in nats per token. */
/** @typedef {{training: Point[], heldout: Point[]}} Curves */

const HEIGHT = 230, LEFT = 50, RIGHT = 14, TOP = 10, BOTTOM = 42;

/** Round numbers from 0 to a highest value or just above it, about as many as wanted. */
export function ticks(/** @type {number} */ highest, /** @type {number} */ wanted) {
  const rough = highest / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((each) => each * power >= rough * 0.999) ?? 10);
  return Array.from({ length: Math.ceil(highest / step - 1e-9) + 1 }, (_, place) => Number((place * step).toPrecision(6)));
}

const named = (/** @type {string} */ name, /** @type {string} */ kind) => (name ? `${name}: ${kind}` : `${kind[0].toUpperCase()}${kind.slice(1)}`);

export class LossChart {
  constructor(/** @type {Element} */ parent) {
    this.curves = /** @type {Record<string, Curves>} */ ({});
    this.steps = 1;
    this.box = make("div", { className: "ft-losses" });
    this.legend = make("p", { className: "ft-legend" });
    this.plot = make("div", { className: "ft-plot" });
    this.slider = range({ className: "ft-reader", min: "0", value: "0", ariaLabel: "Training step to read" });
    this.values = make("output", { className: "ft-values" });
    this.table = make("tbody");
    const title = make("p", { className: "ft-title", textContent: "Loss while training" });
    const explained = make("span", { className: "ft-small", textContent: " – how surprised the model is by the right answer. Lower is better." });
    const table = make("table", {}, make("thead"), this.table);
    this.head = table.createTHead();
    const numbers = make("details", { className: "ft-numbers" }, make("summary", { textContent: "The values as a table" }), make("div", { className: "ft-scroll" }, table));
    title.append(explained);
    this.box.append(title, this.legend, this.plot, this.slider, this.values, numbers);
    parent.append(this.box);
    this.slider.oninput = () => { this.follows = false; this.draw(); };
    this.plot.onpointermove = this.plot.onpointerdown = (event) => {
      const at = (event.clientX - this.plot.getBoundingClientRect().left - LEFT) / (this.plot.clientWidth - LEFT - RIGHT);
      this.slider.value = String(Math.round(at * this.steps));
      this.follows = false;
      this.draw();
    };
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  reset(/** @type {number} */ steps, /** @type {string[]} */ names) {
    this.steps = steps;
    this.follows = true; // the newest step is read until a reader chooses one
    this.curves = Object.fromEntries(names.map((name) => [names.length > 1 ? name : "", { training: [], heldout: [] }]));
    this.slider.max = String(steps);
  }

  add(/** @type {string} */ name, /** @type {keyof Curves} */ kind, /** @type {number} */ step, /** @type {number} */ loss) {
    if (!Number.isFinite(loss)) return;
    (this.curves[name] ?? this.curves[""])[kind].push([step, loss]);
    if (this.follows) this.slider.value = String(step);
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth, all = Object.values(this.curves).flatMap(({ training, heldout }) => [...training, ...heldout]);
    if (!width || !all.length) return;
    const rows = ticks(Math.max(...all.map(([, loss]) => loss)), 4), columns = ticks(this.steps, width < 500 ? 4 : 8).filter((step) => step <= this.steps);
    const x = (/** @type {number} */ step) => LEFT + ((width - LEFT - RIGHT) * step) / this.steps;
    const y = (/** @type {number} */ loss) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * loss) / rows[rows.length - 1];
    const path = (/** @type {Point[]} */ points) => points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
    const grid = rows.map((loss) => `<line x1="${LEFT}" x2="${width - RIGHT}" y1="${y(loss)}" y2="${y(loss)}"/><text x="${LEFT - 8}" y="${y(loss) + 4}" text-anchor="end">${loss}</text>`);
    const foot = columns.map((step) => `<text x="${x(step)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${step}</text>`);
    const lines = Object.values(this.curves).map(({ training, heldout }, place) => `<g class="ft-curve-${place}"><polyline class="ft-training" points="${path(training)}"/>
      <polyline class="ft-heldout" points="${path(heldout)}"/>${heldout.map(([step, loss]) => `<circle cx="${x(step)}" cy="${y(loss)}" r="4"/>`).join("")}</g>`);
    const now = this.slider.valueAsNumber;
    this.plot.innerHTML = `<svg viewBox="0 0 ${width} ${HEIGHT}" width="${width}" height="${HEIGHT}" role="img">${grid.join("")}${foot.join("")}
      <text x="${(LEFT + width - RIGHT) / 2}" y="${HEIGHT - 4}" text-anchor="middle">Training step</text>
      <text transform="rotate(-90)" x="${-(HEIGHT - BOTTOM + TOP) / 2}" y="13" text-anchor="middle">Loss (nats per token)</text>
      <line class="ft-cursor" x1="${x(now)}" x2="${x(now)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>${lines.join("")}</svg>`;
    this.plot.querySelector("svg")?.setAttribute("aria-label", `Loss over ${this.steps} steps. ${this.read(this.steps)}. The values are in the table below.`);
    this.values.textContent = this.read(now);
    this.drawTable();
    if (this.legend.dataset.of !== Object.keys(this.curves).join()) this.drawLegend();
  }

  /** The losses at a step, in words. */
  read(/** @type {number} */ step) {
    const last = (/** @type {Point[]} */ points) => points.filter(([at]) => at <= step).at(-1);
    const parts = Object.entries(this.curves).map(([name, { training, heldout }]) => {
      const [trained, held] = [last(training), last(heldout)];
      const heldWords = held && `held-out ${held[1].toFixed(2)}${held[0] === step ? "" : ` (step ${held[0]})`}`;
      return [name ? `${name}: ` : "", [trained && `training ${trained[1].toFixed(2)}`, heldWords].filter(Boolean).join(", ")].join("");
    });
    return `Step ${step}: ${parts.join("; ")}`;
  }

  drawLegend() {
    const names = Object.keys(this.curves);
    this.legend.dataset.of = names.join();
    this.legend.replaceChildren(...names.flatMap((name, place) => ["training", "heldout"].map((kind) => {
      const item = make("span", { className: `ft-curve-${place}`, textContent: named(name, kind === "training" ? "training loss" : "held-out loss") });
      item.insertAdjacentHTML("afterbegin", `<svg width="30" height="12" aria-hidden="true"><polyline class="ft-${kind}" points="1,6 29,6"/>${kind === "heldout" ? '<circle cx="15" cy="6" r="4"/>' : ""}</svg>`);
      return item;
    })));
  }

  /** The steps at which the held-out loss was measured. */
  drawTable() {
    const curves = Object.entries(this.curves), steps = curves[0][1].heldout.map(([step]) => step);
    const near = (/** @type {Point[]} */ points, /** @type {number} */ step) => points.find(([at]) => at === step)?.[1].toFixed(3) ?? "–";
    const titles = curves.flatMap(([name]) => [named(name, "training loss"), named(name, "held-out loss")]);
    this.head.replaceChildren(make("tr", {}, ...["Step", ...titles].map((textContent) => make("th", { scope: "col", textContent }))));
    this.table.replaceChildren(...steps.map((step) => make("tr", {}, make("th", { scope: "row", textContent: String(step) }),
      ...curves.flatMap(([, { training, heldout }]) => [training, heldout]).map((points) => make("td", { textContent: near(points, step) })))));
  }
}

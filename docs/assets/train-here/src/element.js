// <ft-train>: trains the smallest bundled model in the page, in a worker. Nothing is loaded before the reader asks for it.

/** @typedef {{name: string, step: number, loss: number, ms: number, steps: number, device: string, text: string, prompt: string,
 *    stopped: boolean, why: string, file: Uint8Array<ArrayBuffer>, examples: number, many: boolean,
 *    scores: Record<string, {loss: number, prompts: number, formed: number, ended: number, frozen: number, changed: number}>}} Told */

const HERE = new URL(".", import.meta.url);
const NUMBERS_A_RANK = 9856; // of an adapter for all linear matrices: inputs and outputs of each, summed
const HEIGHT = 180, WIDTH = 640;

const shortened = (/** @type {string} */ text, most = 400) => {
  const said = text.trim() || "(nothing)", start = said.slice(0, most).split("\n").slice(0, 12).join("\n");
  return start === said ? said : `${start} …`;
};

class FtTrain extends HTMLElement {
  connectedCallback() {
    if (this.panel) return;
    const can = typeof Worker !== "undefined" && typeof WebAssembly !== "undefined" && typeof DecompressionStream !== "undefined";
    this.panel = this.add(this, "div", { className: "ft-player ft-training" });
    if (!can) return void this.add(this.panel, "p", { textContent: "This browser cannot train here. The recorded runs on this page show the same." });
    this.build(this.panel);
    document.addEventListener("visibilitychange", this.seen);
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.seen);
    this.worker?.terminate();
    this.worker = undefined;
  }

  seen = () => this.order(document.hidden ? "pause" : "resume");

  /** @template {keyof HTMLElementTagNameMap} T @param {Element} parent @param {T} name @param {object} [properties] */
  add(parent, name, properties = {}) {
    const made = document.createElement(name);
    Object.assign(made, properties);
    parent.append(made);
    return made;
  }

  build(/** @type {Element} */ panel) {
    const bar = this.add(panel, "div", { className: "ft-bar" });
    this.button = this.add(bar, "button", { type: "button", className: "ft-play", textContent: "Train here", onclick: () => this.toggle() });
    if (this.dataset.knob === "rank") this.buildRank(bar);
    this.told = this.add(bar, "output", { className: "ft-told" });
    const own = this.add(panel, "details", { className: "ft-own" });
    this.add(own, "summary", { textContent: "Train on sentences of your own" });
    const label = this.add(own, "label", { textContent: this.dataset.own });
    this.own = this.add(label, "textarea", { rows: 4, maxLength: 20000, spellcheck: false });
    this.results = this.add(panel, "div", { hidden: true });
    this.results.insertAdjacentHTML("beforeend", `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" class="ft-live"></svg>`);
    this.svg = /** @type {SVGElement} */ (this.results.lastElementChild);
    this.key = this.add(this.results, "p", { className: "ft-key" });
    this.asked = this.add(this.results, "p", { className: "ft-prompt" });
    this.samples = this.add(this.results, "div", { className: "ft-samples" });
    this.scores = this.add(this.results, "ul", { className: "ft-scored" });
    this.buildTalk(this.results);
  }

  buildRank(/** @type {Element} */ bar) {
    const label = this.add(bar, "label", { textContent: "Rank " });
    const [rank, shown] = [this.add(label, "input", { type: "range", min: "1", max: "32", value: "8" }), this.add(bar, "output")];
    const show = () => { shown.textContent = `${rank.value}: an adapter of ${(4 * NUMBERS_A_RANK * rank.valueAsNumber).toLocaleString("en")} bytes`; };
    rank.oninput = show;
    this.rank = rank;
    show();
  }

  buildTalk(/** @type {Element} */ parent) {
    const form = this.add(parent, "form", { className: "ft-bar", hidden: true });
    const label = this.add(form, "label", { textContent: `${this.dataset.ask} ` });
    const prompt = this.add(label, "input", { type: "text", maxLength: 300, required: true, value: this.dataset.prompt });
    this.which = this.add(form, "select", { ariaLabel: "Which model" });
    this.add(form, "button", { type: "submit", textContent: "Ask" });
    this.add(form, "button", { type: "button", textContent: "Download what was trained", onclick: () => this.order("keep", { name: this.which?.value }) });
    this.answer = this.add(parent, "blockquote", { className: "ft-said", hidden: true, ariaLive: "polite" });
    form.onsubmit = (event) => {
      event.preventDefault();
      this.order("ask", { name: this.which?.value, prompt: prompt.value });
    };
    this.form = form;
  }

  order(/** @type {string} */ order, more = {}) {
    this.worker?.postMessage({ order, ...more });
  }

  toggle() {
    if (this.training) return this.order("stop");
    if (!this.worker) {
      this.worker = new Worker(new URL("worker.js", HERE), { type: "module" });
      this.worker.onmessage = ({ data }) => this.hear(data);
      this.worker.onerror = ({ message }) => this.hear(/** @type {any} */ ({ event: "failed", why: message }));
    }
    this.training = true;
    this.began = performance.now();
    this.curves = /** @type {Record<string, {told: [number, number][], held: [number, number][]}>} */ ({});
    this.samples?.replaceChildren();
    this.say("Loading …", "Stop");
    if (this.scores && this.form) [this.scores.textContent, this.form.hidden] = ["", true];
    this.order("train", {
      lesson: new URL(`lessons/${this.dataset.lesson}.json.gz`, HERE).href, model: new URL("../derived/nano/", HERE).href,
      settings: this.rank ? { rank: this.rank.valueAsNumber, alpha: 2 * this.rank.valueAsNumber } : {}, own: this.own?.value.trim(),
    });
  }

  say(/** @type {string} */ text, /** @type {string} */ button, aloud = true) {
    if (!this.told || !this.button) return;
    this.told.ariaLive = aloud ? "polite" : "off";
    [this.told.textContent, this.button.textContent] = [text, button];
  }

  hear(/** @type {Told & {event: string}} */ told) {
    this.dispatchEvent(new CustomEvent(told.event, { detail: told }));
    const hearing = /** @type {Record<string, (told: Told) => void>} */ ({
      started: () => this.start(told), step: () => this.step(told), evaluated: () => this.curve(told.name).held.push([told.step, told.loss]),
      sampled: () => this.sample(told), finished: () => this.finish(told), answering: () => this.reply(told), answered: () => this.reply(told),
      kept: () => this.save(told), failed: () => { this.training = false; this.say(`It failed: ${told.why}`, "Train again"); },
    });
    hearing[told.event](told);
  }

  curve(/** @type {string} */ name) {
    return ((this.curves ??= {})[name] ??= { told: [], held: [] });
  }

  start(/** @type {Told} */ told) {
    this.steps = told.steps;
    this.many = told.many;
    if (this.results) this.results.hidden = false;
    this.say(`${told.examples} examples, ${told.steps} steps, on ${told.device === "webgpu" ? "your graphics card" : "your processor"} …`, "Stop");
  }

  step(/** @type {Told} */ told) {
    this.curve(told.name).told.push([told.step, told.loss]);
    this.say(`step ${told.step} of ${this.steps}, loss ${told.loss.toFixed(2)}, ${Math.round(told.ms)} ms a step`, "Stop", false);
    this.draw();
  }

  /** The curves so far: training loss as lines, held-out loss as dots. */
  draw() {
    const curves = Object.entries(this.curves ?? {});
    const highest = Math.max(...curves.flatMap(([, { told, held }]) => [...told, ...held].map(([, loss]) => loss)));
    const at = (/** @type {[number, number]} */ [step, loss]) => [8 + ((WIDTH - 16) * step) / (this.steps ?? 1), HEIGHT - 8 - ((HEIGHT - 16) * loss) / highest];
    const parts = curves.map(([, { told, held }], place) => `<g class="ft-curve-${place}"><polyline points="${told.map(at).join(" ")}"/>${
      held.map((point) => { const [x, y] = at(point); return `<circle cx="${x}" cy="${y}" r="4"/>`; }).join("")}</g>`);
    if (!this.svg || !this.key) return;
    const grid = `<line x1="8" x2="${WIDTH - 8}" y1="${HEIGHT - 8}" y2="${HEIGHT - 8}"/><text x="${WIDTH - 8}" y="20" text-anchor="end">loss from 0 to ${
      highest.toFixed(1)}, ${this.steps} steps</text>`;
    this.svg.innerHTML = grid + parts.join("");
    const last = curves.map(([name, { told, held }]) => `${name}: training loss (line) ${told.at(-1)?.[1].toFixed(2) ?? "–"}, held-out loss (dots) ${held.at(-1)?.[1].toFixed(2) ?? "–"}`);
    this.svg.setAttribute("aria-label", `Loss over ${this.steps} steps, from 0 to ${highest.toFixed(1)}. ${last.join(". ")}.`);
    this.key.replaceChildren(...last.map((text, place) => Object.assign(document.createElement("span"), { className: `ft-curve-${place}`, textContent: text })));
  }

  sample(/** @type {Told} */ { name, step, prompt, text }) {
    const title = `${this.many ? `${name}, ` : ""}${step ? `after step ${step}` : "before the first step"}:`;
    if (this.asked) this.asked.textContent = `What it says to an unseen prompt: ${prompt}`;
    const id = `${name}-${step ? "now" : "before"}`;
    const found = [...(this.samples?.children ?? [])].find((each) => /** @type {HTMLElement} */ (each).dataset.id === id);
    const figure = found ?? this.add(/** @type {Element} */ (this.samples), "figure");
    /** @type {HTMLElement} */ (figure).dataset.id = id;
    figure.replaceChildren();
    this.add(figure, "figcaption", { className: "ft-when", textContent: title });
    this.add(figure, "blockquote", { className: "ft-said", textContent: shortened(text) });
    this.draw();
  }

  finish(/** @type {Told} */ { step, stopped, scores }) {
    this.training = false;
    this.say(`${stopped ? "Stopped" : "Done"} after ${step} steps and ${Math.round((performance.now() - (this.began ?? 0)) / 1000)} s, answers included.`, "Train again");
    this.scores?.replaceChildren(...Object.entries(scores).map(([name, { loss, prompts, formed, ended, frozen, changed }]) => {
      const answers = prompts ? `, ${formed} of ${prompts} unseen prompts answered in the form, ${ended} to an end` : "";
      const base = frozen ? `; of the base's ${frozen} tensors ${changed || "none"} changed` : "";
      return Object.assign(document.createElement("li"), { textContent: `${name}: held-out loss ${loss.toFixed(2)}${answers}${base}.` });
    }));
    this.which?.replaceChildren(...Object.keys(scores).map((name) => new Option(name)));
    if (this.which && this.form) [this.which.hidden, this.form.hidden] = [Object.keys(scores).length < 2, false];
  }

  reply(/** @type {Told} */ { text }) {
    if (this.answer) [this.answer.hidden, this.answer.textContent] = [false, shortened(text, 2000)];
  }

  save(/** @type {Told} */ { name, file }) {
    const url = URL.createObjectURL(new Blob([file], { type: "application/zip" }));
    this.add(this, "a", { href: url, download: `nano-${name}.zip` }).click();
    this.lastElementChild?.remove();
    URL.revokeObjectURL(url);
  }
}

customElements.define("ft-train", FtTrain);

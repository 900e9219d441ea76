// <ft-train>: trains the smallest bundled model in the page, in a worker. Nothing is loaded before the reader asks for it.

import { LossChart } from "./chart.js";
import { make, range } from "./dom.js";
import { Microscope } from "./microscope.js";
import { readOwn } from "./own.js";
import { Results } from "./results.js";

/** @import { Looked } from "./microscope.js" */
/** @import { Answer, Evaluated, Settings } from "./results.js" */
/** @typedef {{event: string, name: string, step: number, steps: number, loss: number, ms: number, device: string, examples: number, stopped: boolean,
 *    why: string, file: Uint8Array<ArrayBuffer>, frozen: {tensors: number, changed: number}, prompt: string,
 *    answers: Record<string, {before: Answer, after: Answer}>}} Reported */
/** @typedef {{text: string, message: string, steps: number, lr: number}} Own */
/** @typedef {Settings & {lesson: string, hasRank: boolean, hasMicroscope: boolean, own: Own | null, placeholder: string}} Lesson */

const HERE = new URL(".", import.meta.url);
const NUMBERS_PER_RANK = 9856; // of an adapter for all linear matrices: inputs and outputs of each, summed

class FtTrain extends HTMLElement {
  stepTimes = /** @type {number[]} */ ([]);

  connectedCallback() {
    if (this.panel) return;
    this.panel = make("div", { className: "ft-panel" });
    this.append(this.panel);
    const can = typeof Worker !== "undefined" && typeof WebAssembly !== "undefined" && typeof DecompressionStream !== "undefined";
    if (!can) return void this.panel.append(make("p", { textContent: "This browser cannot train here. The recorded runs on this page show the same." }));
    this.lesson = /** @type {Lesson} */ (JSON.parse(this.dataset.lesson ?? ""));
    this.build(this.panel, this.lesson);
    document.addEventListener("visibilitychange", this.watch);
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.watch);
    this.worker?.terminate();
    this.worker = undefined;
  }

  watch = () => this.order(document.hidden ? "pause" : "resume");

  build(/** @type {Element} */ panel, /** @type {Lesson} */ lesson) {
    this.button = make("button", { type: "button", className: "ft-play", textContent: "Train the model", onclick: () => this.toggle() });
    this.status = make("output", { className: "ft-status", textContent: "Nothing is loaded until you press the button." });
    this.progress = make("progress", { value: 0, hidden: true, ariaLabel: "Training progress" });
    const bar = make("div", { className: "ft-bar" }, this.button);
    if (lesson.hasRank) this.buildRank(bar);
    bar.append(this.status);
    panel.append(bar, this.progress);
    const shown = make("div");
    panel.append(shown);
    this.results = new Results(shown, lesson, () => this.look());
    this.buildForm(panel, lesson);
    this.microscope = lesson.hasMicroscope ? new Microscope(panel, (strength) => {
      this.order("look", { name: lesson.starts[0], prompt: this.results?.chosen, strength });
    }) : null;
    this.details = make("div", { hidden: true });
    panel.append(this.details);
    this.chart = new LossChart(this.details);
    this.engineers = make("p", { className: "ft-small" });
    this.details.append(this.engineers);
    if (lesson.own) this.buildOwn(panel, lesson.own);
  }

  buildRank(/** @type {Element} */ bar) {
    const rank = range({ min: "1", max: "32", value: "8" }), shown = make("span");
    const show = () => { shown.textContent = `${rank.value}, an adapter of ${(4 * NUMBERS_PER_RANK * rank.valueAsNumber).toLocaleString("en")} bytes`; };
    rank.oninput = show;
    this.rank = rank;
    bar.append(make("label", {}, make("span", {}, "Rank: ", shown), rank));
    show();
  }

  /** Where a reader writes a message of their own, and keeps the model. */
  buildForm(/** @type {Element} */ panel, /** @type {Lesson} */ lesson) {
    const message = make("input", { type: "text", maxLength: 300, required: true, placeholder: lesson.placeholder });
    this.message = message;
    this.which = make("select", { ariaLabel: "Which model", hidden: lesson.starts.length < 2 }, ...lesson.starts.map((name) => new Option(name)));
    const download = make("button", { type: "button", textContent: "Download the model", onclick: () => this.order("keep", { name: this.which?.value }) });
    this.form = make("form", { className: "ft-bar ft-try", hidden: true }, make("label", {}, make("span", { textContent: "Write one yourself" }), message),
      make("button", { type: "submit", textContent: "Answer it" }), this.which, download);
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.order("ask", { prompt: message.value });
    };
    panel.append(this.form);
  }

  buildOwn(/** @type {Element} */ panel, /** @type {Own} */ own) {
    const text = make("textarea", { rows: 14, maxLength: 20000, spellcheck: false, value: own.text.trim() });
    const message = make("input", { type: "text", maxLength: 300, value: own.message });
    const problem = make("p", { className: "ft-problem", role: "alert" });
    const start = make("button", { type: "button", textContent: "Train on these", onclick: () => {
      problem.textContent = "";
      try {
        readOwn(text.value);
        if (!message.value.trim()) throw new Error("The new message is empty. Write one that is not among the examples.");
      } catch (error) {
        return void (problem.textContent = /** @type {Error} */ (error).message);
      }
      this.train({ ...own, text: text.value, message: message.value.trim() });
    } });
    panel.append(make("details", { className: "ft-own" }, make("summary", { textContent: "Use your own examples" }),
      make("p", { textContent: "Five are enough to see it. Write a message, below it the JSON that you want, then an empty line. These are for another job; edit them or replace them." }),
      make("label", {}, make("span", { textContent: "Examples" }), text), make("label", {}, make("span", { textContent: "A new message, which is not among them" }), message),
      problem, start));
    this.start = start;
  }

  order(/** @type {string} */ order, more = {}) {
    this.worker?.postMessage({ order, ...more });
  }

  toggle() {
    return this.training ? this.order("stop") : this.train(null);
  }

  train(/** @type {Own | null} */ own) {
    const { lesson } = this;
    if (!lesson || this.training) return;
    if (!this.worker) {
      this.worker = new Worker(new URL("worker.js", HERE), { type: "module" });
      this.worker.onmessage = ({ data }) => this.hear(data);
      this.worker.onerror = ({ message }) => this.hear(/** @type {any} */ ({ event: "failed", why: message }));
    }
    this.own = own;
    this.began = performance.now();
    this.setTraining(true);
    this.say("Loading the model: 2 MB …");
    this.results?.reset(own ? [own.message] : lesson.prompts, own ? [] : lesson.wanted, own ? 0 : this.results.place < lesson.prompts.length ? this.results.place : 0);
    if (own) this.scrollIntoView();
    this.order("train", {
      lesson: new URL(`lessons/${lesson.lesson}.json.gz`, HERE).href, model: new URL("../derived/nano/", HERE).href,
      settings: this.rank ? { rank: this.rank.valueAsNumber, alpha: 2 * this.rank.valueAsNumber } : {}, own,
    });
  }

  setTraining(/** @type {boolean} */ training) {
    this.training = training;
    if (!this.button || !this.form || !this.progress) return;
    this.button.textContent = training ? "Stop training" : "Train again";
    this.form.hidden = training;
    this.progress.hidden = !training;
    if (training) this.progress.removeAttribute("value");
    if (this.microscope && training) this.microscope.box.hidden = true;
    if (this.start) this.start.disabled = training;
  }

  say(/** @type {string} */ text, aloud = true) {
    if (!this.status) return;
    this.status.ariaLive = aloud ? "polite" : "off";
    this.status.textContent = text;
  }

  hear(/** @type {Reported} */ reported) {
    const hearing = /** @type {Record<string, (reported: any) => void>} */ ({
      started: (reported) => this.begin(reported), step: (reported) => this.follow(reported), evaluated: (reported) => this.evaluate(reported),
      finished: (reported) => this.finish(reported), answered: (reported) => this.reply(reported), looked: (reported) => this.showLook(reported),
      kept: (reported) => this.save(reported), failed: ({ why }) => this.fail(why),
    });
    hearing[reported.event](reported);
    this.dispatchEvent(new CustomEvent(reported.event, { detail: reported }));
  }

  begin(/** @type {Reported} */ { steps, device, examples }) {
    this.steps = steps;
    this.device = device === "webgpu" ? "your graphics card" : "your processor";
    this.examples = examples;
    this.trained = performance.now();
    this.stepTimes = [];
    if (this.progress) this.progress.max = steps;
    this.chart?.reset(steps, this.lesson?.starts ?? []);
    if (this.details) this.details.hidden = false;
    this.say(`Training on ${examples} examples …`);
  }

  follow(/** @type {Reported} */ { name, step, loss, ms }) {
    this.chart?.add(name, "training", step, loss);
    this.stepTimes.push(ms);
    if (!this.progress || !this.engineers || !this.steps) return;
    this.progress.value = step;
    const seconds = (performance.now() - (this.trained ?? 0)) / 1000, left = Math.ceil((seconds * (this.steps - step)) / step);
    this.say(`Training on ${this.examples} examples: ${left ? `about ${left} s left` : "almost done"}`, false);
    this.engineers.textContent = `Step ${step} of ${this.steps} on ${this.device}, ${Math.round(ms)} ms per step.`;
  }

  evaluate(/** @type {Reported & Evaluated & {answers: Answer[]}} */ evaluated) {
    this.chart?.add(evaluated.name, "heldout", evaluated.step, evaluated.loss);
    this.results?.update(evaluated.name, evaluated);
  }

  finish(/** @type {Reported} */ { step, stopped, frozen }) {
    this.setTraining(false);
    this.results?.finish();
    this.say(`${stopped ? "Stopped" : "Done"} after ${Math.round((performance.now() - (this.began ?? 0)) / 1000)} s.`);
    const base = frozen.tensors ? ` Of the base model’s ${frozen.tensors} tensors, ${frozen.changed || "none"} changed.` : "";
    const perStep = Math.round(this.stepTimes.sort((a, b) => a - b)[Math.floor(this.stepTimes.length / 2)] ?? 0);
    if (this.engineers) this.engineers.textContent = `${step} steps on ${this.device}, ${perStep} ms per step (median).${base}`;
    if (this.message && !this.message.value && this.own) this.message.value = this.own.message;
    this.look();
  }

  /** Looks at the answer on show, where the page has a microscope and the model is ready. */
  look() {
    if (!this.microscope || this.training || !this.worker) return;
    this.microscope.box.hidden = false;
    this.microscope.look();
  }

  showLook(/** @type {Looked} */ looked) {
    if (looked.prompt === this.results?.chosen) this.microscope?.show(looked, this.results.chosenWanted);
    else if (this.microscope) {
      this.microscope.busy = false;
      this.look();
    }
  }

  reply(/** @type {Reported} */ { prompt, answers }) {
    this.results?.type({ prompt, answers });
    this.look();
  }

  fail(/** @type {string} */ why) {
    if (this.training) this.setTraining(false);
    if (this.form) this.form.hidden = !this.results?.isDone;
    if (this.microscope) this.microscope.busy = false;
    this.say(`That did not work. ${why}`);
  }

  save(/** @type {Reported} */ { name, file }) {
    const href = URL.createObjectURL(new Blob([file], { type: "application/zip" })), link = make("a", { href, download: `nano-${name}.zip` });
    this.append(link);
    link.click();
    link.remove();
    URL.revokeObjectURL(href);
  }
}

customElements.define("ft-train", FtTrain);

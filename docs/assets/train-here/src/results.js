// The result in words: how many unseen messages were answered correctly, and one of them before and after, side by side.

import { make, mark } from "./dom.js";
import { fieldsOf, isRight } from "./grade.js";

/** @import { Job } from "./grade.js" */
/** @typedef {{text: string, stopped: boolean}} Answer */
/** @typedef {{job: Job, unit: string, asks: string, starts: string[], prompts: string[], wanted: string[], first: number}} Settings
 *    `unit` is what is counted, `asks` introduces a prompt, `first` is the place of the prompt to show first. */
/** @typedef {{prompt: string, answers: Record<string, {before: Answer, after: Answer}>}} Typed A message of the reader's. */
/** @typedef {{step: number, answers: Answer[], right: number, predicted: number}} Evaluated */

const PER_CENT = 100;
const shortened = (/** @type {string} */ text, most = 280) => (text.length > most ? `${text.slice(0, most)} …` : text);
const capital = (/** @type {string} */ text) => `${text[0].toUpperCase()}${text.slice(1)}`;

export class Results {
  prompts = /** @type {string[]} */ ([]);
  wanted = /** @type {string[]} */ ([]);
  place = 0;
  before = /** @type {Record<string, Evaluated>} */ ({});
  now = /** @type {Record<string, Evaluated>} */ ({});
  typed = /** @type {Typed | null} */ (null);
  isDone = false;
  isOwn = false;

  /** @param {Element} parent @param {Settings} settings @param {() => void} onChoice */
  constructor(parent, settings, onChoice) {
    this.settings = settings;
    this.onChoice = onChoice;
    this.verdict = make("div", { className: "ft-verdict", ariaLive: "polite" });
    this.picker = make("div", { className: "ft-picker", role: "group", ariaLabel: "Unseen examples" });
    this.prompt = make("blockquote", { className: "ft-message" });
    this.table = make("table", { className: "ft-compare" });
    this.asks = make("p", { className: "ft-asks" });
    parent.append(this.verdict, this.picker, this.asks, this.prompt, this.table);
    this.reset(settings.prompts, settings.wanted, settings.first);
  }

  /** Begins again, with these prompts and what is wanted for each, if that is known. */
  reset(/** @type {string[]} */ prompts, /** @type {string[]} */ wanted, place = 0) {
    [this.prompts, this.wanted, this.place, this.isOwn] = [prompts, wanted, place, prompts !== this.settings.prompts];
    [this.before, this.now, this.typed] = [{}, {}, null];
    this.isDone = false;
    this.show();
  }

  update(/** @type {string} */ name, /** @type {Evaluated} */ evaluated) {
    if (!evaluated.step) this.before[name] = evaluated;
    this.now[name] = evaluated;
    this.show();
  }

  finish() {
    this.isDone = true;
    this.show();
  }

  /** Shows the answers to a message that the reader wrote. */
  type(/** @type {Typed} */ typed) {
    this.typed = typed;
    this.place = this.prompts.length;
    this.show();
  }

  /** The prompt on show. */
  get chosen() {
    return this.place < this.prompts.length ? this.prompts[this.place] : this.typed?.prompt ?? "";
  }

  /** What is wanted for the prompt on show, if that is known. */
  get chosenWanted() {
    return this.wanted[this.place] ?? null;
  }

  show() {
    this.showVerdict();
    this.showPicker();
    this.asks.textContent = this.place < this.prompts.length ? this.settings.asks : "Your message:";
    this.prompt.textContent = this.chosen;
    this.showTable();
  }

  showVerdict() {
    const { job, unit, starts } = this.settings, total = job === "text" ? PER_CENT : this.prompts.length;
    const count = (/** @type {Evaluated} */ { right, predicted }) => (job === "text" ? Math.round(PER_CENT * predicted) : right);
    const lines = starts.filter((name) => this.now[name]).map((name) => {
      const [before, now] = [this.before[name], this.now[name]];
      if (this.isOwn) return now.step ? `${this.isDone ? "After training" : `After ${now.step} steps`} on your examples:` : "Before training on your examples:";
      const after = now.step ? ` After${this.isDone ? "" : ` ${now.step} steps`}: ${count(now)} of ${total}.` : "";
      const first = `efore: ${count(before)} of ${total} ${unit}.`;
      return starts.length > 1 ? `${capital(name)} – b${first}${after}` : `B${first}${after}`;
    });
    if (this.verdict.dataset.of === lines.join()) return; // what has not changed is not announced again
    this.verdict.dataset.of = lines.join();
    this.verdict.replaceChildren(...lines.map((textContent) => make("p", { textContent })));
    this.verdict.hidden = !lines.length;
  }

  showPicker() {
    const last = this.now[this.settings.starts[0]], wanted = this.wanted;
    const button = (/** @type {number} */ place, /** @type {string} */ text) => {
      const answer = last?.answers[place], isMarked = answer && wanted.length && this.settings.job !== "text";
      const right = isMarked && isRight(this.settings.job, answer, wanted[place] ?? null);
      const made = make("button", { type: "button", ariaPressed: String(place === this.place), className: isMarked ? (right ? "ft-right" : "ft-wrong") : "" }, text);
      if (isMarked) made.append(" ", ...mark(Boolean(right), ""));
      made.onclick = () => { this.place = place; this.show(); this.onChoice(); };
      return made;
    };
    const buttons = this.prompts.map((_, place) => button(place, String(place + 1)));
    if (this.typed) buttons.push(button(this.prompts.length, "Yours"));
    const hadFocus = this.picker.contains(document.activeElement);
    this.picker.replaceChildren(make("span", { textContent: "Unseen examples" }), ...buttons);
    if (hadFocus) buttons[this.place]?.focus();
    this.picker.hidden = buttons.length < 2;
  }

  showTable() {
    const columns = this.columns(), wanted = this.chosenWanted;
    const fields = columns.map(({ answer }) => (answer ? fieldsOf(answer.text, wanted) : wanted === null ? [] : fieldsOf(wanted, wanted)));
    const keys = this.settings.job === "fields" ? [...new Set(fields.flat().map(({ key }) => key))] : [];
    const head = make("tr", {}, make("td"), ...columns.map(({ title }) => make("th", { scope: "col", textContent: title })));
    const written = make("tr", { className: "ft-written" }, make("th", { scope: "row", textContent: "It writes" }), ...columns.map((column) => this.written(column, wanted)));
    const rows = keys.map((key) => make("tr", {}, make("th", { scope: "row", textContent: key }), ...columns.map((column, place) => this.cell(column, fields[place].find((each) => each.key === key)))));
    const isIdle = !columns[0].answer;
    this.table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...(isIdle && keys.length ? [] : [written]), ...rows));
    this.table.hidden = isIdle && wanted === null;
  }

  /** What is compared: before and after, or one model beside another; before the first run, what is wanted. */
  columns() {
    const { starts } = this.settings, typed = this.place >= this.prompts.length ? this.typed : null;
    const of = (/** @type {Record<string, Evaluated>} */ all, /** @type {string} */ name) => all[name]?.answers[this.place];
    if (!Object.keys(this.now).length) return [{ title: "What we want", answer: /** @type {Answer | undefined} */ (undefined) }];
    if (starts.length > 1) return starts.map((name) => ({ title: capital(name), answer: typed ? typed.answers[name]?.after : of(this.now, name) }));
    const [name] = starts, step = this.now[name]?.step, after = this.isDone || typed ? "After training" : step ? `After ${step} steps` : "After training";
    return [{ title: "Before training", answer: typed ? typed.answers[name]?.before : of(this.before, name) },
      { title: after, answer: typed ? typed.answers[name]?.after : step ? of(this.now, name) : undefined }];
  }

  /** A model's answer as it wrote it, marked where the whole of it is right or wrong. */
  written(/** @type {{answer?: Answer}} */ { answer }, /** @type {string | null} */ wanted) {
    const isIdle = !Object.keys(this.now).length;
    if (!answer) return make("td", { textContent: isIdle ? wanted ?? "" : "…" });
    const text = make("span", { className: this.settings.job === "fields" ? "ft-code" : "", textContent: shortened(answer.text) || "(nothing)" });
    if (this.settings.job !== "answer" || wanted === null) return make("td", {}, text);
    const right = isRight("answer", answer, wanted);
    return make("td", { className: right ? "ft-right" : "ft-wrong" }, ...mark(right), text, ...(right ? [] : [make("small", { textContent: `should be ${wanted}` })]));
  }

  cell(/** @type {{answer?: Answer}} */ { answer }, /** @type {import("./grade.js").Field | undefined} */ field) {
    if (!answer && Object.keys(this.now).length) return make("td", { textContent: "…" });
    if (!answer || this.chosenWanted === null) return make("td", { textContent: field?.value ?? "–" });
    const found = field ?? { value: "missing", wanted: "", isRight: false, key: "" };
    const correction = found.isRight || found.value === "missing" ? [] : [make("small", { textContent: `should be ${found.wanted}` })];
    return make("td", { className: found.isRight ? "ft-right" : "ft-wrong" }, ...mark(found.isRight), make("span", { textContent: found.value }), ...correction);
  }
}

// The microscope of LoRA's page: the adapter's strength changes while the answer follows, token by token.

import { make, mark, range } from "./dom.js";
import { fieldsOf } from "./grade.js";

/** @typedef {{text: string, tuned: number, base: number}} Token Its log-probabilities with the adapter and without it, in nats. */
/** @typedef {{prompt: string, strength: number, text: string, stopped: boolean, tokens: Token[]}} Looked */

const LEVELS = [3, 30, 1000];
const LEVEL_NAMES = ["up to 3 times", "3 to 30 times", "30 to 1,000 times", "over 1,000 times"];
const ANSWER_WAIT = 120; // ms between two positions of the slider that are answered, so that it never lags behind
const level = (/** @type {Token} */ { tuned, base }) => LEVELS.filter((times) => Math.abs(tuned - base) > Math.log(times)).length;
const percent = (/** @type {number} */ logProb) => {
  const share = 100 * Math.exp(logProb);
  return share >= 99.95 ? "100%" : share >= 1 ? `${share.toFixed(share < 10 ? 1 : 0)}%` : share >= 0.001 ? `${share.toPrecision(1)}%` : "under 0.001%";
};
const times = (/** @type {number} */ difference) => {
  const factor = Math.exp(Math.abs(difference));
  return factor > 1e6 ? "over a million" : factor >= 10 ? Math.round(factor).toLocaleString("en") : factor.toFixed(1);
};

export class Microscope {
  /** @param {Element} parent @param {(strength: number) => void} onLook Asks for an answer at a strength. */
  constructor(parent, onLook) {
    this.onLook = onLook;
    this.box = make("div", { className: "ft-microscope", hidden: true });
    this.strength = range({ min: "0", max: "2", step: "0.1", value: "1" });
    this.shown = make("span");
    this.told = make("p", { className: "ft-small" });
    this.answer = make("div", { className: "ft-tokens", role: "group", ariaLabel: "Tokens of the answer. Use the arrow keys to read each." });
    this.value = make("output", { className: "ft-values" });
    this.rows = make("tbody");
    const label = make("label", {}, make("span", {}, "Adapter strength: ", this.shown), this.strength);
    const ends = make("p", { className: "ft-ends", ariaHidden: "true" }, ...["0: off", "1: as trained", "2: doubled"].map((textContent) => make("span", { textContent })));
    const legend = make("p", { className: "ft-legend" }, "How much more or less likely the adapter makes a token: ",
      ...LEVEL_NAMES.map((textContent, place) => make("span", { className: `ft-token ft-level-${place}`, textContent })));
    const head = make("tr", {}, ...["Token", "With adapter", "Without", "Difference (nats)"].map((textContent) => make("th", { scope: "col", textContent })));
    const table = make("details", { className: "ft-numbers" }, make("summary", { textContent: "The tokens as a table" }),
      make("div", { className: "ft-scroll" }, make("table", {}, make("thead", {}, head), this.rows)));
    this.box.append(make("p", { className: "ft-title", textContent: "Under the microscope: turn the adapter down and up" }), label, ends, this.told, this.answer, this.value, legend, table);
    parent.append(this.box);
    this.strength.oninput = () => this.look();
    this.answer.onkeydown = (event) => this.step(event);
    this.busy = false;
  }

  /** Asks for the answer at the slider's strength; while one is on its way, only the last position counts. */
  look() {
    this.shown.textContent = `${this.strength.valueAsNumber.toFixed(1)} ×`;
    if (this.busy) return void (this.isWaiting = true);
    [this.busy, this.isWaiting] = [true, false];
    this.onLook(this.strength.valueAsNumber);
  }

  /** @param {Looked} looked @param {string | null} wanted */
  show({ strength, text, tokens }, wanted) {
    this.busy = false;
    const fields = wanted === null ? [] : fieldsOf(text, wanted), right = fields.filter((field) => field.isRight).length;
    const off = strength === 0 ? "The adapter is off: this is the base model’s answer, bit for bit." : "";
    this.told.replaceChildren(off, ...(off || !fields.length ? [] : [...mark(right === fields.length), `${right} of ${fields.length} fields right at this strength.`]));
    this.tokens = tokens;
    this.answer.replaceChildren(...tokens.map((token, place) => {
      const made = make("span", { className: `ft-token ft-level-${level(token)}`, tabIndex: place ? -1 : 0, textContent: token.text || "■ stop" });
      made.onpointerenter = made.onfocus = made.onclick = () => this.read(place);
      return made;
    }));
    this.rows.replaceChildren(...tokens.map(({ text: piece, tuned, base }) => make("tr", {}, ...[piece.trim() || (piece ? "(space)" : "(stop)"), percent(tuned), percent(base), (tuned - base).toFixed(2)]
      .map((textContent) => make("td", { textContent })))));
    this.value.textContent = "Point at a token, tap it or use the arrow keys to see its probabilities.";
    if (this.isWaiting) setTimeout(() => this.look(), ANSWER_WAIT);
  }

  read(/** @type {number} */ place) {
    const token = this.tokens?.[place];
    if (!token) return;
    const { text, tuned, base } = token, difference = tuned - base, direction = difference < 0 ? "less" : "more";
    const change = level(token) ? `${times(difference)} times ${difference < 0 ? "less likely" : "as likely"}` : `about as likely (${times(difference)} times ${direction})`;
    this.value.textContent = `“${text || "stop"}”: ${percent(tuned)} with the adapter, ${percent(base)} without it: ${change}. Difference of log-probabilities: ${difference.toFixed(2)} nats.`;
  }

  /** Moves the focus with the arrow keys, so that all tokens are one stop of the Tab key. */
  step(/** @type {KeyboardEvent} */ event) {
    const all = /** @type {HTMLElement[]} */ ([...this.answer.children]), at = all.findIndex((each) => each === document.activeElement);
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || !all[next]) return;
    event.preventDefault();
    all.forEach((each, place) => { each.tabIndex = place === next ? 0 : -1; });
    all[next].focus();
  }
}

// <ft-player>: scrub through a recorded run. It holds a static picture and the run's data; where there is no script the
// picture stays as it is. All controls are the browser's own, so keyboard, touch and screen readers work as usual.
"use strict";

class FtPlayer extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    const run = JSON.parse(this.querySelector("script").textContent);
    this.steps = [...new Set([...run.curve, ...run.heldout].map(([step]) => step))].sort((a, b) => a - b);
    this.run = run;
    this.asked = 0;
    this.build();
    this.show(this.steps.length - 1);
  }

  disconnectedCallback() {
    this.pause();
  }

  build() {
    const add = (parent, name, properties = {}) => parent.appendChild(Object.assign(document.createElement(name), properties));
    const panel = add(this, "div", { className: "ft-player" });
    const bar = add(panel, "div", { className: "ft-bar" });
    this.button = add(bar, "button", { type: "button", className: "ft-play", onclick: () => this.toggle() });
    this.slider = add(bar, "input", { type: "range", min: 0, max: this.steps.length - 1, step: 1 });
    this.slider.setAttribute("aria-label", "Step of the recorded run");
    this.slider.oninput = () => { this.pause(); this.show(Number(this.slider.value)); };
    this.told = add(bar, "output", { className: "ft-told" });
    if (this.run.samples.length) this.buildAnswers(panel, add);
    this.marker = this.drawMarker();
    this.pause();
  }

  buildAnswers(panel, add) {
    const label = add(panel, "label", { className: "ft-asked", textContent: "Asked: " });
    const select = add(label, "select", { onchange: () => { this.asked = select.selectedIndex; this.show(this.place); } });
    this.run.samples[0].answers.forEach(({ prompt }) => add(select, "option", { textContent: shortened(prompt) }));
    this.scores = add(panel, "dl", { className: "ft-scores" });
    this.caption = add(panel, "p", { className: "ft-when" });
    this.answer = add(panel, "blockquote", { className: "ft-said" });
  }

  drawMarker() {
    const svg = this.querySelector("svg");
    const draw = (name) => svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
    const line = draw("line"), dot = draw("circle");
    line.setAttribute("class", "ft-now");
    dot.setAttribute("class", "ft-now");
    dot.setAttribute("r", 7);
    return { line, dot };
  }

  toggle() {
    if (this.timer) return this.pause();
    if (this.place === this.steps.length - 1) this.show(0);
    this.button.textContent = "Pause";
    const pace = Math.max(40, 8000 / this.steps.length);
    this.timer = setInterval(() => {
      this.show(this.place + 1);
      if (this.place === this.steps.length - 1) this.pause();
    }, pace);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }

  show(place) {
    this.place = place;
    const step = this.steps[place], { curve, heldout, samples } = this.run;
    const loss = upTo(curve, step), held = upTo(heldout, step);
    this.slider.value = place;
    const parts = [`step ${step}`, loss && `training loss ${loss[1].toFixed(2)}`, held && `held-out loss ${held[1].toFixed(2)}`];
    this.told.textContent = parts.filter(Boolean).join(", ");
    this.slider.setAttribute("aria-valuetext", this.told.textContent);
    this.move(step, (loss || held)[1]);
    const sample = samples.filter((one) => one.step <= step).pop();
    if (sample) this.tell(sample);
  }

  tell(sample) {
    const answer = sample.answers[this.asked];
    this.caption.textContent = sample.step ? `What it said after step ${sample.step}:` : "What it said before the first step:";
    this.answer.textContent = answer.text.trim() || "(nothing)";
    this.scores.replaceChildren(...Object.entries(sample.scores).map(([name, value]) => {
      const [pair, term, figure] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name.replaceAll("_", " ");
      figure.textContent = value.toFixed(2);
      pair.append(term, figure);
      return pair;
    }));
  }

  move(step, loss) {
    const { left, right, top, bottom, x, y } = this.run.frame;
    const across = left + ((right - left) * step) / x;
    const down = bottom - (bottom - top) * Math.min(1, loss / y);
    for (const [name, value] of Object.entries({ x1: across, x2: across, y1: top, y2: bottom })) this.marker.line.setAttribute(name, value);
    this.marker.dot.setAttribute("cx", across);
    this.marker.dot.setAttribute("cy", down);
  }
}

const upTo = (points, step) => points.filter(([at]) => at <= step).pop();

function shortened(text) {
  const line = text.trim().split("\n").pop();
  return line.length > 80 ? `${line.slice(0, 79)}…` : line;
}

customElements.define("ft-player", FtPlayer);

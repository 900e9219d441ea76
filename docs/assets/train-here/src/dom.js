// What the parts of <ft-train> share to build a page.

/** A new element with properties and children. @template {keyof HTMLElementTagNameMap} T @param {T} name @param {object} [properties] @param {(Node | string)[]} children */
export function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

/** A mark that is seen, and in words for those who hear the page. */
export const mark = (/** @type {boolean} */ isRight, end = ": ") => [
  make("span", { className: "ft-mark", ariaHidden: "true", textContent: isRight ? "✓" : "✗" }),
  make("span", { className: "ft-unseen", textContent: `${isRight ? "right" : "wrong"}${end}` }),
];

/** A range input, whose keyboard and touch come with the browser. */
export const range = (/** @type {object} */ properties) => make("input", { type: "range", ...properties });

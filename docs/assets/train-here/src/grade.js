// Whether an answer is right, by the job: every field of a JSON object, or the answer word for word.

/** @typedef {"fields" | "answer" | "text"} Job Fields of a JSON object, an exact answer, or a text that nothing checks. */
/** @typedef {{key: string, value: string, wanted: string, isRight: boolean}} Field Values as a reader sees them. */

/** A value read from JSON, if it is an object; else null. @returns {Record<string, unknown> | null} */
export const asObject = (/** @type {any} */ value) => (value && typeof value === "object" && !Array.isArray(value) ? value : null);
const parsed = (/** @type {string} */ text) => {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return null;
  }
};
const inWords = (/** @type {unknown} */ value) => (value === undefined ? "missing" : value === null ? "none" : typeof value === "string" ? value : JSON.stringify(value));

/** The fields of an answer beside those that are wanted; its own alone where nothing is. Empty where neither is an object. */
export function fieldsOf(/** @type {string} */ answer, /** @type {string | null} */ wanted) {
  const found = parsed(answer) ?? {}, expected = wanted === null ? found : parsed(wanted) ?? {};
  return [...new Set([...Object.keys(expected), ...Object.keys(found)])].map((key) => /** @type {Field} */ ({
    key, value: inWords(found[key]), wanted: key in expected ? inWords(expected[key]) : "nothing",
    isRight: key in found && key in expected && JSON.stringify(found[key]) === JSON.stringify(expected[key]),
  }));
}

/** Whether an answer is all that is wanted and nothing else; a text is never checked. */
export function isRight(/** @type {Job} */ job, /** @type {{text: string, stopped: boolean}} */ { text, stopped }, /** @type {string | null} */ wanted) {
  if (job === "text" || wanted === null || !stopped) return false;
  const plain = (/** @type {string} */ words) => words.toLowerCase().split(/\s+/).filter(Boolean).join(" ");
  const fields = fieldsOf(text, wanted);
  return job === "fields" || parsed(wanted) ? fields.length > 0 && fields.every((field) => field.isRight) : plain(text) === plain(wanted);
}

// A reader's own examples, as they are written in the page.

import { asObject } from "./grade.js";

/**
 * A reader's own examples: a message of one line or more, in the line below it the JSON that is wanted, and an empty line
 * between two examples.
 *
 * @returns {{line: number, prompt: string, completion: string}[]} With the line that each begins in, from 1.
 */
export function readOwn(/** @type {string} */ text) {
  const blocks = /** @type {{line: number, lines: string[]}[]} */ ([]);
  text.split("\n").forEach((raw, index, all) => {
    const line = raw.trim();
    if (line.includes("<|")) throw new Error(`Line ${index + 1} contains "<|", which begins a control token. Delete it.`);
    if (line && !all[index - 1]?.trim()) blocks.push({ line: index + 1, lines: [] });
    if (line) blocks.at(-1)?.lines.push(line);
  });
  if (!blocks.length) throw new Error("There is no example. Write a message, and below it the JSON that you want.");
  const examples = blocks.map(({ line, lines }) => ({ line, prompt: lines.slice(0, -1).join("\n"), completion: lines.at(-1) ?? "" }));
  const [keys, ...others] = examples.map(({ line, prompt, completion }, place) => keysOf(completion, prompt, line + blocks[place].lines.length - 1));
  others.forEach((found, place) => {
    if (found === keys) return;
    const { line, lines } = blocks[place + 1];
    throw new Error(`Line ${line + lines.length - 1}: the keys are ${found}, but those of the first example are ${keys}. Use the same keys in the same order.`);
  });
  return examples;
}

/** The keys of an example's JSON, as words. */
function keysOf(/** @type {string} */ completion, /** @type {string} */ prompt, /** @type {number} */ line) {
  let value;
  try {
    value = JSON.parse(completion);
  } catch {
    throw new Error(`Line ${line} should be JSON, like {"day": "Friday"}, for the message above it. Check quotes, commas and braces, and leave an empty line after each JSON.`);
  }
  const keys = Object.keys(asObject(value) ?? {});
  if (!keys.length) throw new Error(`Line ${line} should be a JSON object with at least one key, like {"day": "Friday"}.`);
  if (!prompt) throw new Error(`Line ${line} has no message above it. Write the message in the line before its JSON.`);
  return keys.join(", ");
}

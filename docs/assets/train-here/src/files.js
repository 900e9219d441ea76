// What is read and written: the reader's own examples, ftdemo's chat template, safetensors.

import { MATRICES } from "./model.js";
import { readOwn } from "./own.js";

/** @import { Example, Plain, Recipe } from "./trainer.js" */
/** @import { Tokenizer } from "@huggingface/tokenizers" */

/** What ends each turn and text. */
export const STOP = "<|im_end|>";

/** A request as the model reads it. A test holds it against the template that ships with the model. */
export const asked = (/** @type {string} */ prompt) => `<|im_start|>user\n${prompt}${STOP}\n<|im_start|>assistant\n`;

/** A reader's own examples as tokens. As in ftdemo/data/tokenize.py, the loss counts the answer and its stop token. */
export function ownExamples(/** @type {string} */ text, /** @type {Tokenizer} */ tokenizer, /** @type {number} */ longest) {
  const ids = (/** @type {string} */ part) => tokenizer.encode(part, { add_special_tokens: false }).ids;
  return readOwn(text).map(({ line, prompt, completion }) => {
    const before = ids(asked(prompt)).length, all = ids(`${asked(prompt)}${completion}${STOP}\n`);
    if (all.length > longest) throw new Error(`The example from line ${line} on has ${all.length} tokens. Shorten it to ${longest}, which is about ${3 * longest} characters.`);
    return /** @type {Example} */ ({ input_ids: all, trained: [[before, all.length - 1]] });
  });
}

/** Rows of several texts each, the longest first into the first that has room, and batches of such rows. */
export function packed(/** @type {Example[]} */ examples, /** @type {Recipe} */ { max_length, batch_tokens }) {
  const rows = /** @type {{room: number, texts: number[]}[]} */ ([]);
  const size = (/** @type {number} */ place) => examples[place].input_ids.length;
  for (const place of [...examples.keys()].sort((a, b) => size(b) - size(a))) {
    let row = rows.find(({ room }) => room >= size(place));
    if (!row) rows.push((row = { room: max_length, texts: [] }));
    row.texts.push(place);
    row.room -= size(place);
  }
  const many = Math.max(1, Math.floor(batch_tokens / max_length));
  return Array.from({ length: Math.ceil(rows.length / many) }, (_, at) => rows.slice(at * many, (at + 1) * many).map(({ texts }) => texts));
}

/** What PEFT has to know of an adapter. */
export const adapterConfig = (/** @type {{rank: number, alpha: number}} */ { rank, alpha }) => ({
  peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: "nano", r: rank, lora_alpha: alpha, lora_dropout: 0,
  bias: "none", target_modules: MATRICES.map((name) => name.split(".")[1]),
});

/** Tensors of a safetensors file as float32. */
export function readTensors(/** @type {ArrayBuffer} */ file) {
  const size = Number(new DataView(file).getBigUint64(0, true));
  const { __metadata__: _metadata, ...entries } = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, size)));
  const tensors = /** @type {Plain} */ ({});
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(entries)) {
    const bytes = file.slice(8 + size + start, 8 + size + end);
    if (dtype !== "F32" && dtype !== "BF16") throw new Error(`${name} is ${dtype}, not F32 or BF16.`);
    const bits = dtype === "F32" ? new Uint32Array(bytes) : Uint32Array.from(new Uint16Array(bytes), (half) => half << 16);
    tensors[name] = { shape, data: new Float32Array(bits.buffer) };
  }
  return tensors;
}

/** A safetensors file in float32. */
export function writeTensors(/** @type {Plain} */ tensors) {
  let end = 0;
  const entries = Object.entries(tensors).map(([name, { shape, data }]) => [name, { dtype: "F32", shape, data_offsets: [end, (end += data.byteLength)] }]);
  const head = new TextEncoder().encode(JSON.stringify({ __metadata__: { format: "pt" }, ...Object.fromEntries(entries) }));
  const padded = 8 * Math.ceil(head.length / 8);
  const file = new Uint8Array(8 + padded + end).fill(32, 8, 8 + padded);
  new DataView(file.buffer).setBigUint64(0, BigInt(padded), true);
  file.set(head, 8);
  let start = 8 + padded;
  for (const { data } of Object.values(tensors)) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start);
    start += data.byteLength;
  }
  return file;
}

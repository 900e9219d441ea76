// What the worker computes with, for whoever wants to compute with it in a page: the tests do.

import { Tokenizer } from "@huggingface/tokenizers";

/** A tokenizer that gives back each text as it was. */
export const readTokenizer = (/** @type {object} */ json) => new Tokenizer(json, { clean_up_tokenization_spaces: false });
export { defaultDevice, init, numpy } from "@jax-js/jax";
export * from "./files.js";
export * from "./grade.js";
export * from "./model.js";
export * from "./own.js";
export * from "./trainer.js";

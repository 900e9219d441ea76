// The worker of <ft-train>: it fetches a lesson and the model, trains, answers, and reports each event to the page.

import { zipSync } from "fflate";
import {
  Learner, STOP, adapterConfig, asked, defaultDevice, init, isRight, newAdapter, ownExamples, packed, randomized, readTensors, readTokenizer,
  writeTensors,
} from "./engine.js";

/** @import { Tokenizer } from "@huggingface/tokenizers" */
/** @import { Job } from "./grade.js" */
/** @import { Config } from "./model.js" */
/** @import { Example, Packed, Plain, Recipe } from "./trainer.js" */
/** @typedef {{recipe: Recipe, starts: Record<string, string>, chat: boolean, job: Job, prompts: string[], wanted: string[],
 *    train: Example[], heldout: Example[], plan: Packed[], heldout_plan: Packed[]}} Lesson What ftdemo/site/lessons.py writes. */
/** @typedef {{text: string, message: string, steps: number, lr: number}} Own Examples of the reader's, the message to answer,
 *    and how to train on them. */
/** @typedef {{lesson: string, model: string, settings: Partial<Recipe>, own?: Own}} Order Addresses of lesson and model, what
 *    replaces settings of the recipe, and a reader's own examples. */
/** @typedef {{text: string, stopped: boolean}} Answer */

const CONTEXT = 512; // tokens that the model reads, its answer included
const report = (/** @type {string} */ event, /** @type {object} */ more = {}) => postMessage({ event, ...more });
/** @type {Promise<{device: string, config: Config, weights: Plain, tokenizer: Tokenizer}> | undefined} */
let model;
/** @type {Lesson} */
let lesson;
/** @type {Record<string, Learner>} */
let learners = {};
let folder = "", stopping = false, waiting = Promise.resolve(), resume = () => {};

/** A file of the site, which is stored compressed. Some servers tell browsers to unpack such a file themselves. */
async function fetched(/** @type {string} */ url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} could not be read: ${answer.status}.`);
  const file = await answer.blob(), [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  return new Response(first === 0x1f && second === 0x8b ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file);
}

async function load(/** @type {Order} */ { model: from }) {
  folder = from;
  const files = ["config.json", "tokenizer.json", "model.safetensors"].map((name) => fetched(`${folder}${name}.gz`));
  const [config, tokenizer, weights] = await Promise.all(files);
  const adapter = await /** @type {any} */ (navigator).gpu?.requestAdapter();
  const wanted = adapter && !adapter.info?.isFallbackAdapter ? "webgpu" : "wasm"; // in software WebGPU is the slower one
  const chosen = (await init(wanted, "wasm")).includes(wanted) ? wanted : "wasm";
  defaultDevice(chosen);
  return {
    device: chosen, config: await config.json(), weights: readTensors(await weights.arrayBuffer()),
    tokenizer: readTokenizer(await tokenizer.json()),
  };
}

/** What could not be loaded is fetched again the next time. @returns {never} */
function forget(/** @type {unknown} */ error) {
  model = undefined;
  throw error;
}

/** Between two steps: lets orders in, and waits while the page is hidden. */
async function breathe() {
  await new Promise((done) => setTimeout(done));
  await waiting;
}

async function train(/** @type {Order} */ order) {
  stopping = false;
  const [{ device, config, weights, tokenizer }, read] = await Promise.all([(model ??= load(order).catch(forget)), fetched(order.lesson)]);
  lesson = await read.json();
  const { own } = order, recipe = { ...lesson.recipe, ...order.settings, ...(own && { lr: own.lr }) };
  if (own) {
    const examples = ownExamples(own.text, tokenizer, recipe.max_length), plan = packed(examples, recipe);
    const repeated = Array.from({ length: own.steps }, (_, step) => plan[step % plan.length]);
    lesson = { ...lesson, recipe, train: examples, plan: repeated, heldout_plan: [], prompts: [own.message], wanted: [] };
  }
  Object.values(learners).forEach((learner) => learner.free());
  learners = Object.fromEntries(Object.entries(lesson.starts).map(([name, method]) => {
    const first = method === "scratch" ? randomized(weights, recipe.seed) : weights;
    return [name, new Learner(config, recipe, first, method === "lora" ? newAdapter(config, weights, recipe) : null)];
  }));
  const steps = lesson.plan.length;
  report("started", { steps, device, examples: lesson.train.length });
  await evaluate(0);
  let step = 0;
  while (step < steps && !stopping) {
    step += 1;
    for (const [name, learner] of Object.entries(learners)) {
      const began = performance.now(), loss = await learner.train(lesson.train, lesson.plan[step - 1], steps);
      if (!Number.isFinite(loss)) throw new Error(`The loss of step ${step} is not a number, so training has diverged. Try other examples.`);
      report("step", { name, step, loss, ms: performance.now() - began });
    }
    if (step % recipe.eval_every === 0 && step < steps) await evaluate(step);
    await breathe();
  }
  report("finished", { step, stopped: stopping, scores: await evaluate(step), frozen: await frozen() });
}

/** The held-out loss of each model, and its answers to all prompts. */
async function evaluate(/** @type {number} */ step) {
  const scores = /** @type {Record<string, {loss: number, predicted: number, right: number}>} */ ({});
  for (const [name, learner] of Object.entries(learners)) {
    const { loss, predicted } = await learner.evaluate(lesson.heldout, lesson.heldout_plan), answers = await answer(learner, lesson.prompts);
    const right = answers.filter((each, place) => isRight(lesson.job, each, lesson.wanted[place] ?? null)).length;
    scores[name] = { loss, predicted, right };
    report("evaluated", { name, step, answers, ...scores[name] });
    await breathe();
  }
  return scores;
}

const encode = (/** @type {Tokenizer} */ tokenizer, /** @type {string} */ prompt) =>
  tokenizer.encode(lesson.chat ? asked(prompt) : prompt, { add_special_tokens: !lesson.chat }).ids;

/** The text of an answer, which may be empty. */
const decode = (/** @type {Tokenizer} */ tokenizer, /** @type {number[]} */ ids) => (ids.length ? tokenizer.decode(ids, { skip_special_tokens: true }) : "");

/** The ids of a model's answers, and which of them it ended by itself. */
async function generate(/** @type {Learner} */ learner, /** @type {string[]} */ prompts, strength = 1) {
  const { tokenizer } = await /** @type {NonNullable<typeof model>} */ (model), ids = prompts.map((prompt) => encode(tokenizer, prompt));
  const most = lesson.recipe.answer_tokens, long = ids.findIndex(({ length }) => length + most > CONTEXT);
  if (long >= 0) throw new Error(`The message has ${ids[long].length} tokens, and the model reads ${CONTEXT - most}. Shorten it.`);
  let last = { answers: /** @type {number[][]} */ ([]), ended: /** @type {boolean[]} */ ([]) };
  for await (last of learner.generate(ids, /** @type {number} */ (tokenizer.token_to_id(STOP)), most, strength));
  return { tokenizer, prompts: ids, ...last };
}

/** A model's answers, and which of them it ended by itself. @returns {Promise<Answer[]>} */
async function answer(/** @type {Learner} */ learner, /** @type {string[]} */ prompts, strength = 1) {
  const { tokenizer, answers, ended } = await generate(learner, prompts, strength);
  return answers.map((ids, row) => ({ text: decode(tokenizer, ids).trim(), stopped: ended[row] }));
}

/** How many tensors were frozen, and how many of them changed all the same. */
async function frozen() {
  const { weights } = await /** @type {NonNullable<typeof model>} */ (model);
  const tensors = (await Promise.all(Object.values(learners).map(async (learner) => Object.entries(await learner.plain("frozen"))))).flat();
  return { tensors: tensors.length, changed: tensors.filter(([name, { data }]) => data.some((value, at) => value !== weights[name].data[at])).length };
}

/** An answer at a strength of the adapter, and how likely each of its tokens is with the adapter and without it. */
async function look(/** @type {{name: string, prompt: string, strength: number}} */ { name, prompt, strength }) {
  const learner = learners[name], { tokenizer, prompts: [ids], answers: [chosen], ended: [stopped] } = await generate(learner, [prompt], strength);
  const whole = [...chosen, ...(stopped ? [/** @type {number} */ (tokenizer.token_to_id(STOP))] : [])];
  const example = { input_ids: [...ids, ...whole].slice(0, lesson.recipe.max_length), trained: [[ids.length, Math.min(lesson.recipe.max_length, ids.length + whole.length)]] };
  const [tuned, base] = [await learner.scores([example], [[0]], strength), await learner.scores([example], [[0]], 0)];
  const until = (/** @type {number} */ end) => decode(tokenizer, whole.slice(0, end));
  const tokens = tuned.map(({ logProb }, place) => ({
    text: place < chosen.length ? until(place + 1).slice(until(place).length) : "", tuned: logProb, base: base[place].logProb,
  }));
  report("looked", { prompt, strength, text: until(chosen.length).trim(), stopped, tokens });
}

/** What was trained, in the files that transformers or PEFT load, in a zip. */
async function keep(/** @type {{name: string}} */ { name }) {
  const learner = learners[name], { config } = await /** @type {NonNullable<typeof model>} */ (model);
  const read = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"].map(
    async (file) => [file, new Uint8Array(await (await fetched(`${folder}${file}.gz`)).arrayBuffer())]);
  const json = (/** @type {object} */ value) => new TextEncoder().encode(JSON.stringify(value, null, 2));
  const tensors = writeTensors(await learner.plain("moved"));
  const made = learner.lowRank
    ? { "adapter_model.safetensors": tensors, "adapter_config.json": json(adapterConfig(learner.lowRank)) }
    : { "model.safetensors": tensors, "config.json": json({ ...config, dtype: "float32" }) };
  report("kept", { name: learner.lowRank ? "adapter" : "model", file: zipSync({ ...made, ...Object.fromEntries(await Promise.all(read)) }) });
}

const orders = {
  train,
  stop: async () => { stopping = true; },
  pause: async () => { waiting = new Promise((done) => { resume = done; }); },
  resume: async () => resume(),
  ask: async (/** @type {{prompt: string}} */ { prompt }) => {
    const answers = /** @type {Record<string, {before: Answer, after: Answer}>} */ ({});
    for (const [name, learner] of Object.entries(learners)) {
      const [[before], [after]] = [await answer(learner, [prompt], 0), await answer(learner, [prompt])];
      answers[name] = { before, after };
    }
    report("answered", { prompt, answers });
  },
  look,
  keep,
};

onmessage = async ({ data }) => {
  try {
    await orders[/** @type {keyof typeof orders} */ (data.order)](data);
  } catch (error) {
    report("failed", { why: error instanceof Error ? error.message : String(error) });
  }
};

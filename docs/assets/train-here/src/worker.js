// The worker of <ft-train>: it fetches a lesson and the model, trains, answers, and tells the page of each event.

import { zipSync } from "fflate";
import {
  Learner, STOP, adapterConfig, asked, defaultDevice, init, newAdapter, ownExamples, packed, randomized, readTensors, readTokenizer, writeTensors,
} from "./engine.js";

/** @import { Tokenizer } from "@huggingface/tokenizers" */
/** @import { Config } from "./model.js" */
/** @import { Example, Packed, Plain, Recipe } from "./trainer.js" */
/** @typedef {{recipe: Recipe, starts: Record<string, string>, chat: boolean, form: string, prompts: string[], train: Example[],
 *    heldout: Example[], plan: Packed[], heldout_plan: Packed[]}} Lesson What ftdemo/site/lessons.py writes. */
/** @typedef {{lesson: string, model: string, settings: Partial<Recipe>, own: string}} Order Where both lie, what of the recipe
 *    is set otherwise, and rows of the reader's own. */

const tell = (/** @type {string} */ event, /** @type {object} */ more = {}) => postMessage({ event, ...more });
/** @type {Promise<{device: string, config: Config, weights: Plain, tokenizer: Tokenizer}> | undefined} */
let model;
/** @type {Lesson} */
let lesson;
/** @type {Record<string, Learner>} */
let learners = {};
let folder = "", stopping = false, waiting = Promise.resolve(), resume = () => {};

/** A file of the site, which lies there compressed. Some servers tell browsers to unpack such a file themselves. */
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

/** What could not be loaded is asked for anew the next time. @returns {never} */
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
  const recipe = { ...lesson.recipe, ...order.settings };
  const examples = order.own ? ownExamples(order.own, lesson.chat, tokenizer, recipe.max_length) : lesson.train;
  const once = order.own ? packed(examples, recipe) : lesson.plan; // few rows are read again, for about as many steps
  const plan = Array.from({ length: Math.max(1, Math.round(lesson.plan.length / once.length)) }, () => once).flat(), steps = plan.length;
  Object.values(learners).forEach((learner) => learner.free());
  learners = Object.fromEntries(Object.entries(lesson.starts).map(([name, method]) => {
    const first = method === "scratch" ? randomized(weights, recipe.seed) : weights;
    return [name, new Learner(config, recipe, first, method === "lora" ? newAdapter(config, weights, recipe) : null)];
  }));
  tell("started", { steps, device, examples: examples.length, many: Object.keys(learners).length > 1 });
  await evaluate(0);
  let step = 0;
  while (step < steps && !stopping) {
    step += 1;
    for (const [name, learner] of Object.entries(learners)) {
      const began = performance.now(), loss = await learner.train(examples, plan[step - 1], steps);
      if (!Number.isFinite(loss)) throw new Error(`The loss of step ${step} is no number: training has diverged. Try other rows.`);
      tell("step", { name, step, loss, ms: performance.now() - began });
    }
    if (step % recipe.eval_every === 0 && step < steps) await evaluate(step);
    await breathe();
  }
  const last = await evaluate(step), scores = /** @type {Record<string, object>} */ ({});
  for (const [name, learner] of Object.entries(learners)) scores[name] = await score(learner, last[name]);
  tell("finished", { step, stopped: stopping, scores });
}

/** The held-out loss, and the answer to the first prompt, of each model. */
async function evaluate(/** @type {number} */ step) {
  const seen = /** @type {Record<string, {loss: number, first: {text: string, stopped: boolean}}>} */ ({});
  for (const [name, learner] of Object.entries(learners)) {
    const loss = await learner.heldoutLoss(lesson.heldout, lesson.heldout_plan);
    tell("evaluated", { name, step, loss });
    const first = await answer(learner, lesson.prompts[0]);
    tell("sampled", { name, step, prompt: lesson.prompts[0], ...first });
    seen[name] = { loss, first };
    await breathe();
  }
  return seen;
}

/** What a model answers, and whether it came to an end by itself. */
async function answer(/** @type {Learner} */ learner, /** @type {string} */ prompt, onText = (/** @type {string} */ _text) => {}) {
  const { tokenizer } = await /** @type {NonNullable<typeof model>} */ (model), most = lesson.recipe.answer_tokens;
  const { ids } = tokenizer.encode(lesson.chat ? asked(prompt) : prompt, { add_special_tokens: !lesson.chat });
  const answered = /** @type {number[]} */ ([]);
  for await (const id of learner.generate(ids, /** @type {number} */ (tokenizer.token_to_id(STOP)), most)) {
    answered.push(id);
    if (answered.length % 8 === 0) onText(tokenizer.decode(answered, { skip_special_tokens: true }));
  }
  return { text: tokenizer.decode(answered, { skip_special_tokens: true }), stopped: answered.length < most };
}

/**
 * Of the prompts, how many are answered in the lesson's form and how many to an end; of the frozen tensors, how many changed.
 *
 * @param {Learner} learner
 * @param {{loss: number, first: {text: string, stopped: boolean}}} last What its last evaluation found.
 */
async function score(learner, { loss, first }) {
  const { weights } = await /** @type {NonNullable<typeof model>} */ (model), frozen = Object.entries(await learner.plain("frozen"));
  const changed = frozen.filter(([name, { data }]) => data.some((value, at) => value !== weights[name].data[at])).length;
  const found = { loss, prompts: lesson.form ? lesson.prompts.length : 0, formed: 0, ended: 0, frozen: frozen.length, changed };
  const form = new RegExp(lesson.form, "u");
  for (let place = 0; place < found.prompts; place++) {
    const { text, stopped } = place ? await answer(learner, lesson.prompts[place]) : first;
    if (form.test(text.trim())) found.formed += 1;
    if (stopped) found.ended += 1;
    await breathe();
  }
  return found;
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
  tell("kept", { name: learner.lowRank ? "adapter" : "model", file: zipSync({ ...made, ...Object.fromEntries(await Promise.all(read)) }) });
}

const orders = {
  train,
  stop: async () => { stopping = true; },
  pause: async () => { waiting = new Promise((done) => { resume = done; }); },
  resume: async () => resume(),
  ask: async (/** @type {{name: string, prompt: string}} */ { name, prompt }) => {
    tell("answered", await answer(learners[name], prompt, (text) => tell("answering", { text })));
  },
  keep,
};

onmessage = async ({ data }) => {
  try {
    await orders[/** @type {keyof typeof orders} */ (data.order)](data);
  } catch (error) {
    tell("failed", { why: error instanceof Error ? error.message : String(error) });
  }
};

// A training run: ftdemo/training/loop.py for the smallest bundled model, step by step, in the reader's browser.

import { numpy as np, tree } from "@jax-js/jax";
import { BETAS, MATRICES, adapterName, reader, ropeAngles, scorer, stepper } from "./model.js";

/** @import { Array as Tensor } from "@jax-js/jax" */
/** @import { Batch, Config, Weights } from "./model.js" */
/** @typedef {Record<string, {shape: number[], data: Float32Array}>} Plain Weights as plain numbers. */
/** @typedef {{input_ids: number[], trained: number[][]}} Example Trained are the tokens from a place up to another. */
/** @typedef {number[][]} Packed A batch: the places of its examples, row by row. */
/** @typedef {{method: string, lr: number, warmup: number, schedule: "constant" | "linear" | "cosine", weight_decay: number,
 *    rank: number, alpha: number, lr_ratio: number, max_length: number, batch_tokens: number, seed: number,
 *    eval_every: number, answer_tokens: number}} Recipe */

const FAR_BELOW = -1e9;

/** The rows of a batch, packed, as arrays: see `collate_packed` in ftdemo/data/batches.py. */
export function collate(/** @type {Config} */ config, /** @type {Recipe} */ recipe, /** @type {Example[]} */ examples, /** @type {Packed} */ rows) {
  const length = recipe.max_length, size = length * Math.max(1, Math.floor(recipe.batch_tokens / length));
  const [ids, targets, text, places] = Array.from({ length: 4 }, () => new Int32Array(size));
  const share = new Float32Array(size), bias = new Float32Array(size * length).fill(FAR_BELOW);
  rows.forEach((row, index) => {
    let start = index * length;
    row.forEach((place, number) => {
      const { input_ids, trained } = examples[place];
      input_ids.forEach((id, at) => [ids[start + at], text[start + at], places[start + at]] = [id, number + 1, at]);
      for (const [from, upto] of trained) {
        for (let at = Math.max(1, from); at < upto; at++) [targets[start + at - 1], share[start + at - 1]] = [input_ids[at], 1];
      }
      start += input_ids.length;
    });
  });
  for (let at = 0; at < size; at++) {
    const row = at - (at % length);
    for (let seen = row; seen <= at; seen++) if (text[seen] === text[at]) bias[at * length + seen - row] = 0;
  }
  const count = share.reduce((sum, one) => sum + one), shape = [size / length, length];
  /** @type {Batch} */
  const batch = {
    ids: np.array(ids, { shape }), targets: np.array(targets, { shape }), angles: ropeAngles(config, [...places], size / length),
    share: np.array(share.map((one) => one / count), { shape }), bias: np.array(bias, { shape: [size / length, 1, length, length] }),
  };
  return { batch, trained: share };
}

/** The learning rate of a step, from 1 on: see `learning_rate` in ftdemo/training/loop.py. Halves are rounded as Python does. */
export function learningRate(/** @type {Recipe} */ recipe, /** @type {number} */ step, /** @type {number} */ steps) {
  const share = recipe.warmup * steps, warm = share % 1 === 0.5 ? 2 * Math.round(share / 2) : Math.round(share);
  if (step <= warm) return (recipe.lr * step) / warm;
  const left = (steps - step + 1) / (steps - warm);
  return recipe.lr * { constant: 1, linear: left, cosine: (1 - Math.cos(Math.PI * left)) / 2 }[recipe.schedule];
}

/** Numbers from a normal distribution, the same for a seed (mulberry32; Box & Muller 1958). */
function normals(/** @type {number} */ seed) {
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Small random weights instead of learned ones, as a new model of transformers has them; norms are ones, biases zeros. */
export function randomized(/** @type {Plain} */ weights, /** @type {number} */ seed) {
  const normal = normals(seed);
  return Object.fromEntries(Object.entries(weights).map(([name, { shape, data }]) =>
    [name, { shape, data: data.map(() => (shape.length > 1 ? 0.02 * normal() : Number(!name.endsWith(".bias")))) }]));
}

/** An adapter for all linear matrices: A random, as far spread as PEFT's, and B zero (Hu et al. 2021). */
export function newAdapter(/** @type {Config} */ config, /** @type {Plain} */ weights, /** @type {Recipe} */ { rank, seed }) {
  const normal = normals(seed), adapter = /** @type {Plain} */ ({});
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const matrix of MATRICES.map((name) => `model.layers.${layer}.${name}`)) {
      const [outputs, inputs] = weights[`${matrix}.weight`].shape;
      const random = Float32Array.from({ length: rank * inputs }, () => normal() / Math.sqrt(3 * inputs));
      adapter[adapterName(matrix, "A")] = { shape: [rank, inputs], data: random };
      adapter[adapterName(matrix, "B")] = { shape: [outputs, rank], data: new Float32Array(outputs * rank) };
    }
  }
  return adapter;
}

const argmax = (/** @type {ArrayLike<number>} */ values) => {
  let best = 0;
  for (let at = 1; at < values.length; at++) if (values[at] > values[best]) best = at;
  return best;
};

const onDevice = (/** @type {Plain} */ weights, zero = false) => Object.fromEntries(Object.entries(weights).map(
  ([name, { shape, data }]) => [name, zero ? np.zeros(shape) : np.array(data.slice(), { shape })]));

/** A model that is trained, and can be asked in between. */
export class Learner {
  /** @param {Config} config @param {Recipe} recipe @param {Plain} weights @param {Plain | null} adapter */
  constructor(config, recipe, weights, adapter) {
    this.config = config;
    this.recipe = recipe;
    this.step = 0;
    this.lowRank = adapter && { rank: recipe.rank, alpha: recipe.alpha };
    this.start = weights;
    const moving = adapter || weights;
    /** @type {Weights} */
    this.frozen = adapter ? onDevice(weights) : {};
    this.state = { moved: onDevice(moving), mean: onDevice(moving, true), square: onDevice(moving, true) };
    this.take = stepper(config, this.lowRank, recipe);
    this.trained = { read: reader(config, this.lowRank), score: scorer(config, this.lowRank) };
    this.untrained = adapter ? { read: reader(config, null), score: scorer(config, null) } : this.trained;
  }

  /** One step on a batch: its loss, in nats a trained token. */
  async train(/** @type {Example[]} */ examples, /** @type {Packed} */ rows, /** @type {number} */ steps) {
    this.step += 1;
    const paces = [learningRate(this.recipe, this.step, steps), ...BETAS.map((beta) => 1 - beta ** this.step)].map((value) => np.array(value));
    const { batch } = collate(this.config, this.recipe, examples, rows);
    const { loss, unused, ...state } = this.take(this.state, tree.ref(this.frozen), batch, paces);
    this.state = state;
    tree.dispose(unused);
    return (await loss.data())[0];
  }

  /**
   * What answers, at a strength of what was trained: 1 is the model as trained, 0 the model before. There an adapter is left
   * out, since adding zeros would be compiled in another way and round otherwise. Other strengths scale an adapter's B A.
   * The caller's use of the weights frees them.
   */
  at(strength = 1) {
    if (!strength) return { ...this.untrained, weights: this.lowRank ? tree.ref(this.frozen) : onDevice(this.start) };
    const scaled = Object.entries(this.state.moved).map(([name, each]) => [name, strength !== 1 && name.includes(".lora_B.") ? each.ref.mul(strength) : each.ref]);
    return { ...this.trained, weights: /** @type {Weights} */ ({ ...tree.ref(this.frozen), ...Object.fromEntries(scaled) }) };
  }

  /** The log-probability of each trained token of a batch, in nats, and whether no token is likelier, in their order. */
  async scores(/** @type {Example[]} */ examples, /** @type {Packed} */ rows, strength = 1) {
    const { batch, trained } = collate(this.config, this.recipe, examples, rows), { score, weights } = this.at(strength);
    const { logProbs, behind } = score(weights, batch);
    const [values, distances] = [await logProbs.data(), await behind.data()];
    const places = [...trained.keys()].filter((place) => trained[place]);
    return places.map((place) => ({ logProb: values[place], isLikeliest: distances[place] <= 0 }));
  }

  /** On all trained tokens of these batches: the mean loss in nats, and the share that the model would have predicted. */
  async evaluate(/** @type {Example[]} */ examples, /** @type {Packed[]} */ plan) {
    let [sum, predicted, count] = [0, 0, 0];
    for (const rows of plan) {
      for (const { logProb, isLikeliest } of await this.scores(examples, rows)) {
        [sum, predicted, count] = [sum - logProb, predicted + Number(isLikeliest), count + 1];
      }
    }
    return { loss: sum / count, predicted: predicted / count };
  }

  /**
   * Answers several prompts at once, always with the likeliest token, until the model stops. After each new token: the ids
   * of all answers so far, and which have come to their end.
   *
   * @param {number[][]} prompts
   * @param {number} stop The id of the token that ends an answer.
   * @param {number} most Tokens of an answer, at most.
   */
  async *generate(prompts, stop, most, strength = 1) {
    const { num_hidden_layers: layers, num_attention_heads: heads, head_dim: width } = this.config, rows = prompts.length;
    const room = Math.max(...prompts.map((ids) => ids.length)) + most, length = 64 * Math.ceil(room / 64), { read, weights } = this.at(strength);
    const names = Array.from({ length: layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
    const answers = prompts.map(() => /** @type {number[]} */ ([])), ended = prompts.map(() => false);
    let memory = Object.fromEntries(names.map((name) => [name, np.zeros([rows, length, heads, width])]));
    const isDone = () => answers.every((answer, row) => ended[row] || answer.length === most);
    try {
      for (let place = 0; place < room && !isDone(); place++) {
        const ids = prompts.map((prompt, row) => prompt[place] ?? answers[row][place - prompt.length] ?? stop);
        const here = np.array(Float32Array.from({ length }, (_, at) => Number(at === place)), { shape: [1, length, 1, 1] });
        const bias = np.array(Float32Array.from({ length }, (_, at) => (at > place ? FAR_BELOW : 0)), { shape: [1, 1, 1, length] });
        const token = { ids: np.array(Int32Array.from(ids), { shape: [rows, 1] }), angles: ropeAngles(this.config, [place]), bias, here };
        const found = read(tree.ref(weights), memory, token);
        memory = found.memory;
        const logits = await found.logits.data(), size = logits.length / rows;
        prompts.forEach((prompt, row) => {
          if (place < prompt.length - 1 || ended[row] || answers[row].length === most) return;
          const next = argmax(logits.subarray(row * size, (row + 1) * size));
          if (next === stop) ended[row] = true;
          else answers[row].push(next);
        });
        yield { answers, ended };
      }
    } finally {
      tree.dispose(memory);
      tree.dispose(weights);
    }
  }

  /** The weights that move, or those that do not, as plain numbers. */
  async plain(/** @type {"moved" | "frozen"} */ which) {
    const weights = which === "moved" ? this.state.moved : this.frozen;
    const all = await Promise.all(Object.entries(weights).map(async ([name, each]) => [name, { shape: each.shape, data: await each.ref.data() }]));
    return /** @type {Plain} */ (Object.fromEntries(all));
  }

  /** Give its memory back. */
  free() {
    for (const each of [this.frozen, ...Object.values(this.state)]) tree.dispose(each);
  }
}

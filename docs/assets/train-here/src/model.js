// The bundled Llama: its logits, its loss on a batch, and a step of AdamW. The same as transformers, peft and
// ftdemo/training/loop.py compute, in float32. Arrays are counted by hand: a function uses up what it is given, and `.ref` adds one.

import { jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";

/** @import { Array as Tensor } from "@jax-js/jax" */
/** @typedef {Record<string, Tensor>} Weights By the names that transformers gives them. */
/** @typedef {{hidden_size: number, num_hidden_layers: number, num_attention_heads: number, head_dim: number,
 *    rms_norm_eps: number, vocab_size: number, rope_parameters: {rope_theta: number}}} Config */
/** @typedef {{rank: number, alpha: number} | null} LowRank */
/** @typedef {{moved: Weights, mean: Weights, square: Weights}} State Weights, and the optimizer's moments of them. */
/** @typedef {{ids: Tensor, targets: Tensor, share: Tensor, bias: Tensor, angles: Tensor[]}} Batch Rows x length: tokens, those
 *    that follow, and the share of each in the loss; rows x 1 x length x length: 0 where one sees another, else far below. */

const EMBEDDING = "model.embed_tokens.weight";
const ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"].map((name) => `self_attn.${name}`);
export const MATRICES = [...ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

/** How much the means of gradients and of their squares keep at each step. */
export const BETAS = [0.9, 0.999];

/** How a matrix of an adapter is called in a file of PEFT's. */
export const adapterName = (/** @type {string} */ matrix, /** @type {"A" | "B"} */ side) => `base_model.model.${matrix}.lora_${side}.weight`;

/** The positions of tokens as cosines and sines, rows x length x 1 x head_dim / 2 each (Su et al. 2021). */
export function ropeAngles(/** @type {Config} */ config, /** @type {number[]} */ positions, rows = 1) {
  const half = config.head_dim / 2;
  const angles = Array.from({ length: positions.length * half }, (_, place) =>
    positions[Math.floor(place / half)] / config.rope_parameters.rope_theta ** ((place % half) / half));
  const shape = [rows, positions.length / rows, 1, half];
  return [Math.cos, Math.sin].map((of) => np.array(Float32Array.from(angles, of), { shape }));
}

/**
 * What follows each token: logits, rows x length x vocabulary.
 *
 * @param {Config} config
 * @param {Weights} weights
 * @param {LowRank} lowRank Where the weights hold an adapter, whose names are PEFT's.
 * @param {Tensor} ids Rows x length.
 * @param {Tensor[]} angles What `ropeAngles` gives.
 * @param {(layer: number, query: Tensor, key: Tensor, value: Tensor) => Tensor} attend
 */
export function logits(config, weights, lowRank, ids, angles, attend) {
  const use = (/** @type {string} */ name) => weights[name].ref;
  const multiply = (/** @type {Tensor} */ x, /** @type {string} */ name) => {
    const matrix = `model.layers.${name}`;
    const product = np.inner(lowRank ? x.ref : x, use(`${matrix}.weight`));
    const base = weights[`${matrix}.bias`] ? product.add(use(`${matrix}.bias`)) : product;
    if (!lowRank) return base;
    const squeezed = np.inner(x, use(adapterName(matrix, "A")));
    const update = np.inner(squeezed, use(adapterName(matrix, "B")));
    return base.add(update.mul(lowRank.alpha / lowRank.rank));
  };
  const norm = (/** @type {Tensor} */ x, /** @type {string} */ name) => {
    const size = np.mean(np.square(x.ref), -1, { keepdims: true }).add(config.rms_norm_eps);
    return x.div(np.sqrt(size)).mul(use(`${name}.weight`));
  };
  const [rows, length] = ids.shape;
  const heads = (/** @type {Tensor} */ x) => x.reshape([rows, length, config.num_attention_heads, config.head_dim]);
  const rotate = (/** @type {Tensor} */ x) => {
    const [left, right] = np.split(x, 2, -1);
    const [cos, sin] = angles;
    const first = left.ref.mul(cos.ref).sub(right.ref.mul(sin.ref));
    return np.concatenate([first, right.mul(cos.ref).add(left.mul(sin.ref))], -1);
  };
  let x = np.take(use(EMBEDDING), ids, 0);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const of = (/** @type {string} */ name) => `${layer}.${name}`;
    const read = norm(x.ref, `model.layers.${of("input_layernorm")}`);
    const [query, key] = ["q_proj", "k_proj"].map((name) => rotate(heads(multiply(read.ref, of(`self_attn.${name}`)))));
    const seen = attend(layer, query, key, heads(multiply(read, of("self_attn.v_proj"))));
    x = x.add(multiply(seen.reshape([rows, length, -1]), of("self_attn.o_proj")));
    const thought = norm(x.ref, `model.layers.${of("post_attention_layernorm")}`);
    const gate = nn.silu(multiply(thought.ref, of("mlp.gate_proj")));
    x = x.add(multiply(gate.mul(multiply(thought, of("mlp.up_proj"))), of("mlp.down_proj")));
  }
  const all = np.inner(norm(x, "model.norm"), use(EMBEDDING));
  tree.dispose(/** @type {any} */ (weights));
  angles.forEach((each) => each.dispose());
  return all;
}

/** What a row's tokens see of each other: `bias` is added to how much they attend, rows x 1 x length x length. */
export const attention = (/** @type {Tensor} */ bias) => (/** @type {number} */ _layer, /** @type {Tensor} */ query, /** @type {Tensor} */ key,
  /** @type {Tensor} */ value) => nn.dotProductAttention(query, key, value, { bias: bias.ref });

/** The logits of a batch: rows x length x vocabulary. */
function batchLogits(/** @type {Config} */ config, /** @type {LowRank} */ lowRank, /** @type {Weights} */ weights, /** @type {Batch} */ batch) {
  const all = logits(config, weights, lowRank, batch.ids, batch.angles, attention(batch.bias));
  batch.bias.dispose();
  return all;
}

/** Of values for the whole vocabulary, those of the targets. */
const pick = (/** @type {Tensor} */ values, /** @type {Tensor} */ targets) =>
  values.mul(nn.oneHot(targets, /** @type {number} */ (values.shape.at(-1)))).sum(-1);

/** The loss of a batch in nats: of each token by its share, summed. */
export function loss(/** @type {Config} */ config, /** @type {LowRank} */ lowRank) {
  return (/** @type {Weights} */ trained, /** @type {Weights} */ frozen, /** @type {Batch} */ batch) => {
    const logProbs = nn.logSoftmax(batchLogits(config, lowRank, { ...frozen, ...trained }, batch), -1);
    return pick(logProbs, batch.targets).mul(batch.share).sum().neg();
  };
}

/** Of each token that follows: its log-probability in nats, and how far its logit is below the highest; rows x length. */
export function scorer(/** @type {Config} */ config, /** @type {LowRank} */ lowRank) {
  return jit((/** @type {Weights} */ weights, /** @type {Batch} */ batch) => {
    const all = batchLogits(config, lowRank, weights, batch);
    const logProbs = pick(nn.logSoftmax(all.ref, -1), batch.targets.ref);
    const behind = np.max(all.ref, -1).sub(pick(all, batch.targets));
    batch.share.dispose();
    return { logProbs, behind };
  });
}

/**
 * One step of AdamW (Loshchilov & Hutter 2017) as torch takes it, the gradient cut to a length of 1.
 *
 * @param {Config} config
 * @param {LowRank} lowRank
 * @param {{weight_decay: number, lr_ratio: number}} recipe
 */
export function stepper(config, lowRank, recipe) {
  const [beta1, beta2] = BETAS, epsilon = 1e-8, longest = 1;
  const measured = valueAndGrad(loss(config, lowRank));
  return jit((/** @type {State} */ state, /** @type {Weights} */ frozen, /** @type {Batch} */ batch, /** @type {Tensor[]} */ [rate, due1, due2]) => {
    const names = Object.keys(state.moved);
    const given = Object.fromEntries(names.map((name) => [name, state.moved[name].ref]));
    // With the head frozen, the compiler finds a slow way to the gradients below it, unless the head's is asked for too.
    const { [EMBEDDING]: head, ...rest } = frozen;
    if (head) given[EMBEDDING] = head;
    const [value, gradients] = measured(given, rest, batch);
    const norm = np.sqrt(names.map((name) => np.square(gradients[name].ref).sum()).reduce((sum, part) => sum.add(part)));
    const cut = np.minimum(np.array(longest).div(norm.add(1e-6)), 1);
    const next = /** @type {State} */ ({ moved: {}, mean: {}, square: {} });
    for (const name of names) {
      const gradient = gradients[name].mul(cut.ref), weight = state.moved[name];
      const pace = rate.ref.mul(name.includes(".lora_B.") ? recipe.lr_ratio : 1);
      const decay = weight.ndim > 1 ? recipe.weight_decay : 0;
      next.mean[name] = state.mean[name].mul(beta1).add(gradient.ref.mul(1 - beta1));
      next.square[name] = state.square[name].mul(beta2).add(np.square(gradient).mul(1 - beta2));
      const size = np.sqrt(next.square[name].ref.div(due2.ref)).add(epsilon);
      const kept = weight.mul(np.array(1).sub(pace.ref.mul(decay)));
      next.moved[name] = kept.sub(next.mean[name].ref.div(due1.ref).div(size).mul(pace));
    }
    [cut, rate, due1, due2].forEach((each) => each.dispose());
    return { loss: value, unused: head ? [gradients[EMBEDDING]] : [], ...next };
  });
}

/** Reads one token more of each row: the logits of the next, rows x vocabulary, and keys and values so far, by layer. */
export function reader(/** @type {Config} */ config, /** @type {LowRank} */ lowRank) {
  return jit((/** @type {Weights} */ weights, /** @type {Weights} */ memory, /** @type {{ids: Tensor, angles: Tensor[], bias: Tensor, here: Tensor}} */ token) => {
    const kept = /** @type {Weights} */ ({});
    const keep = (/** @type {string} */ name, /** @type {Tensor} */ now) => {
      kept[name] = memory[name].add(now.mul(token.here.ref));
      return kept[name].ref;
    };
    const see = attention(token.bias);
    const all = logits(config, weights, lowRank, token.ids, token.angles, (layer, query, key, value) =>
      see(layer, query, keep(`${layer}.key`, key), keep(`${layer}.value`, value)));
    token.here.dispose();
    token.bias.dispose();
    return { logits: all.reshape([-1, config.vocab_size]), memory: kept };
  });
}

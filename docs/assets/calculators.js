// <ft-calculator>: the memory, time and price of a training run, by the formulas of ftdemo/estimate/memory.py, under the same
// names. A test runs both on one table of cases. Nothing is sent anywhere.

export const BYTES = { float32: 4, bfloat16: 2, nf4: 0.5625 };

export const WORKSPACE = 0.45;

export const MODELS = {
  "SmolLM2, 135 million": { layers: 30, width: 576, inner: 1536, heads: 9, key_width: 192, vocabulary: 49152, tied: true },
  "TinyLlama, 1.1 billion": { layers: 22, width: 2048, inner: 5632, heads: 32, key_width: 256, vocabulary: 32000, tied: false },
  "Llama 2, 7 billion": { layers: 32, width: 4096, inner: 11008, heads: 32, key_width: 4096, vocabulary: 32000, tied: false },
  "Llama 2, 70 billion": { layers: 80, width: 8192, inner: 28672, heads: 64, key_width: 1024, vocabulary: 32000, tied: false },
};

export const ACCELERATORS = {
  T4: [65e12, 16e9],
  L4: [121e12, 24e9],
  RTX4090: [165.2e12, 24e9],
  L40S: [362e12, 48e9],
  A100: [312e12, 80e9],
  H100: [989e12, 80e9],
  H200: [989e12, 141e9],
};

/** The parameters of a model of the Llama family: all of them, and those in the matrices of its layers. */
export function withParameters(shape) {
  const { layers, width, inner, key_width, vocabulary, tied } = shape;
  const matrices = layers * (2 * width * width + 2 * width * key_width + 3 * width * inner);
  const norms = (2 * layers + 1) * width;
  return { ...shape, matrices, total: matrices + norms + vocabulary * width * (tied ? 1 : 2) };
}

export function adapterParameters({ layers, width, inner, key_width }, rank) {
  return layers * rank * (2 * (width + width) + 2 * (width + key_width) + 3 * (width + inner));
}

export function memory(size, { trainable, low_rank, frozen, products, batch_tokens, row_tokens, trained_tokens }) {
  const wide = BYTES[products];
  const kept = low_rank ? size.matrices * BYTES[frozen] + (size.total - size.matrices) * wide : 0;
  const casts = !low_rank && products !== "float32";
  const aToken = (casts ? 12 : 7) * size.width + 2 * size.key_width + 3 * size.inner + size.heads * row_tokens;
  const activations = wide * size.layers * batch_tokens * aToken;
  const logits = wide * trained_tokens * size.vocabulary;
  const parts = {
    weights: kept + 4 * trainable,
    gradients: 4 * trainable,
    optimizer: 8 * trainable,
    activations,
    logits,
    workspace: WORKSPACE * (activations + logits) + (casts ? wide * size.total : 0),
  };
  return { ...parts, total: Object.values(parts).reduce((sum, part) => sum + part, 0) };
}

export function operations(size, { trainable, low_rank, tokens, row_tokens, trained_share }) {
  const attention = (4 * size.layers * size.width * row_tokens) / 2;
  const body = 2 * size.matrices + attention;
  const head = 2 * size.width * size.vocabulary * trained_share;
  return tokens * ((low_rank ? 2 : 3) * (body + head) + (low_rank ? 6 * trainable : 0));
}

export const secondsOn = (device, count, utilization) => count / (ACCELERATORS[device][0] * utilization);

export const price = (tokens, perMillion) => (tokens * perMillion) / 1e6;

const FIELDS = [
  ["model", "Model", Object.keys(MODELS)],
  ["method", "Method", [["LoRA", "lora"], ["QLoRA", "qlora"], ["Full fine-tuning", "full"]]],
  ["rank", "Rank of the adapter", { value: 8, min: 1, max: 1024 }],
  ["rows", "Training examples", { value: 1000, min: 1, max: 1e9 }],
  ["row_tokens", "Tokens per example", { value: 300, min: 1, max: 131072 }],
  ["epochs", "Epochs", { value: 3, min: 1, max: 1000 }],
  ["trained", "Tokens counted in the loss (%)", { value: 50, min: 1, max: 100 }],
  ["batch_tokens", "Tokens per batch", { value: 4096, min: 16, max: 1048576 }],
  ["device", "Accelerator", Object.keys(ACCELERATORS)],
  ["utilization", "Accelerator utilisation (%)", { value: 30, min: 1, max: 100 }],
  ["per_million", "Price per million training tokens (US$)", { value: 0.5, min: 0, max: 10000, step: "any" }],
];

/** The estimate for the reader's values. Memory is in bytes, time in seconds, the price in dollars. */
export function calculate(values) {
  const size = withParameters(MODELS[values.model]);
  const low_rank = values.method !== "full";
  const trainable = low_rank ? adapterParameters(size, values.rank) : size.total;
  const tokens = values.rows * values.row_tokens * values.epochs;
  const batch_tokens = Math.min(values.batch_tokens, values.rows * values.row_tokens);
  const trained_share = values.trained / 100;
  const held = memory(size, {
    trainable, low_rank, batch_tokens, row_tokens: values.row_tokens, products: "bfloat16",
    frozen: values.method === "qlora" ? "nf4" : "bfloat16", trained_tokens: batch_tokens * trained_share,
  });
  const count = operations(size, { trainable, low_rank, tokens, row_tokens: values.row_tokens, trained_share });
  const seconds = secondsOn(values.device, count, values.utilization / 100);
  return { size, trainable, tokens, held, count, seconds, price: price(tokens, values.per_million) };
}

const figures = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const gigabytes = (bytes) => (bytes / 1e9).toFixed(2);

function duration(seconds) {
  for (const [unit, size] of [["days", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${(seconds / size).toFixed(1)} ${unit}`;
  }
  return `${seconds.toFixed(1)} s`;
}

class FtCalculator extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.replaceChildren();
    const form = this.appendChild(document.createElement("form"));
    form.onsubmit = (event) => event.preventDefault();
    form.oninput = () => this.show();
    this.inputs = Object.fromEntries(FIELDS.map(([name, text, kind]) => [name, this.field(form, name, text, kind)]));
    this.result = this.appendChild(document.createElement("div"));
    this.result.setAttribute("role", "status");
    this.show();
  }

  field(form, name, text, kind) {
    const label = form.appendChild(document.createElement("label"));
    label.append(text);
    const input = label.appendChild(document.createElement(Array.isArray(kind) ? "select" : "input"));
    input.name = name;
    if (Array.isArray(kind)) input.replaceChildren(...kind.map((each) => new Option(...[each].flat())));
    else Object.assign(input, { type: "number", required: true, ...kind });
    return input;
  }

  show() {
    const wrong = Object.values(this.inputs).find((input) => !input.checkValidity());
    this.inputs.rank.disabled = this.inputs.method.value === "full";
    if (wrong) {
      const kind = wrong.step === "any" ? "number" : "whole number";
      const [min, max] = [wrong.min, wrong.max].map((bound) => figures.format(bound));
      this.result.textContent = `${wrong.labels[0].firstChild.textContent}: enter a ${kind} from ${min} to ${max}.`;
      return;
    }
    const values = Object.fromEntries(
      Object.entries(this.inputs).map(([name, input]) => [name, input.type === "number" ? Number(input.value) : input.value]),
    );
    const found = calculate(values);
    const available = ACCELERATORS[values.device][1];
    const fits = found.held.total <= available ? "fits" : "does not fit";
    const rows = [
      ["Trained parameters", `${figures.format(found.trainable)} of ${figures.format(found.size.total)}`],
      ["Training tokens", figures.format(found.tokens)],
      ["Weights (GB)", gigabytes(found.held.weights)],
      ["Gradients (GB)", gigabytes(found.held.gradients)],
      ["Optimizer state (GB)", gigabytes(found.held.optimizer)],
      ["Activations and logits (GB)", gigabytes(found.held.activations + found.held.logits)],
      ["Temporary buffers (GB)", gigabytes(found.held.workspace)],
      ["Peak memory (GB)", `${gigabytes(found.held.total)} of ${available / 1e9}: ${fits}`],
      ["Floating-point operations", found.count.toExponential(1)],
      [`Training time on ${values.device}`, duration(found.seconds)],
      ["Price at a provider (US$)", found.price.toFixed(2)],
    ];
    const list = document.createElement("dl");
    for (const [name, value] of rows) {
      const row = list.appendChild(document.createElement("div"));
      row.appendChild(document.createElement("dt")).textContent = name;
      row.appendChild(document.createElement("dd")).textContent = value;
    }
    this.result.replaceChildren(list);
  }
}

if (!customElements.get("ft-calculator")) customElements.define("ft-calculator", FtCalculator);

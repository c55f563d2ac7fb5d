/* Loads the model of this folder and runs it. Tensors are in real units; what the model stores as integers is converted here. */

import { open } from "./engine.js";

/** A fault of a caller: a tensor that does not fit the model, or a backend that there is not. */
export class StropError extends Error {}

const ARRAYS = {
  float32: Float32Array,
  int32: Int32Array,
  bool: Uint8Array,
  i4: Int8Array,
  i8: Int8Array,
  u8: Uint8Array,
  i16: Int16Array,
  u16: Uint16Array,
  i32: Int32Array,
};

/** The limits of a stored type. */
const LIMITS = { i4: [-8, 7], i8: [-128, 127], u8: [0, 255], i16: [-32768, 32767], u16: [0, 65535] };

/**
 * Load a model. url: its folder, or the `strop.json` in it.
 * @param {string | URL} url
 * @param {import("./strop.js").LoadOptions} [options]
 */
export async function load(url, options = {}) {
  const here = new URL(url, globalThis.location?.href ?? import.meta.url);
  const place = here.pathname.endsWith(".json") ? here : new URL("strop.json", here.href.replace(/\/?$/, "/"));
  const answer = await fetch(place);
  if (!answer.ok) throw new StropError(`${place}: the server answered ${answer.status}. Give the folder that holds strop.json.`);
  const facts = await answer.json();
  const engine = await open(facts, place, options);
  return new Model(facts, engine);
}

/** A model that is ready to run. */
export class Model {
  /** @param {any} facts @param {any} engine */
  constructor(facts, engine) {
    this.name = facts.name;
    this.target = facts.target;
    this.precision = facts.precision;
    this.macs = facts.macs;
    this.inputs = facts.inputs;
    this.outputs = facts.outputs;
    this.backend = engine.backend;
    this.engine = engine.engine;
    this._engine = engine;
  }

  /** Run once. @param {any} given @param {{stored?: boolean}} [options] */
  async predict(given, options = {}) {
    const inputs = this._ordered(given).map((tensor, index) => checked(tensor, this.inputs[index]));
    const results = await this._engine.run(inputs);
    return this.outputs.map((info, index) => {
      const data = options.stored && info.quantization ? quantized(results[index], info) : results[index];
      return { name: info.name, shape: info.shape.slice(), data };
    });
  }

  /** Bytes that the engine holds, or null where it does not tell. */
  memoryBytes() {
    return this._engine.memoryBytes();
  }

  /** Free what the engine holds. */
  dispose() {
    this._engine.dispose();
  }

  _ordered(given) {
    const count = this.inputs.length;
    const names = this.inputs.map((info) => info.name);
    if (given == null) throw new StropError(`no input was given, the model takes ${count}: ${names.join(", ")}.`);
    if (count === 1 && (isNumbers(given) || isNumbers(given.data))) return [given];
    const list = Array.isArray(given) ? given : names.map((name) => given[name]);
    const missing = names.filter((_, index) => list[index] == null);
    if (missing.length || list.length !== count) {
      throw new StropError(`${list.length} inputs were given, the model takes ${count}: ${names.join(", ")}. Missing: ${missing.join(", ") || "none"}.`);
    }
    return list;
  }
}

/** @param {any} data */
function isNumbers(data) {
  return (ArrayBuffer.isView(data) && !(data instanceof DataView)) || (Array.isArray(data) && (data.length === 0 || typeof data[0] === "number"));
}

/** The array that the engine takes for a tensor, checked against what the model says of the input. */
function checked(tensor, info) {
  const place = `input '${info.name}'`;
  const data = isNumbers(tensor) ? tensor : tensor.data;
  if (!isNumbers(data)) throw new StropError(`${place}: it is no array of numbers. Give a ${info.dtype === "float32" ? "Float32Array" : "typed array"}.`);
  const wanted = info.shape.reduce((product, size) => product * size, 1);
  if (data.length !== wanted) {
    throw new StropError(`${place}: ${data.length} numbers were given, shape [${info.shape}] has ${wanted}.`);
  }
  if (tensor.shape !== undefined && String(tensor.shape) !== String(info.shape)) {
    throw new StropError(`${place}: shape [${tensor.shape}] was given, [${info.shape}] is needed.`);
  }
  const whole = ArrayBuffer.isView(data) && !(data instanceof Float32Array) && !(data instanceof Float64Array);
  if (info.quantization && whole) {
    const stored = ARRAYS[info.quantization.dtype];
    if (!(data instanceof stored)) {
      throw new StropError(`${place}: ${data.constructor.name} was given; give real numbers as Float32Array, or stored ones as ${stored.name}.`);
    }
    return dequantized(data, info.quantization);
  }
  const own = ARRAYS[info.dtype];
  if (whole && info.dtype === "float32") {
    throw new StropError(`${place}: ${data.constructor.name} was given, Float32Array is needed.`);
  }
  if (info.dtype === "float32" && !data.every(Number.isFinite)) {
    throw new StropError(`${place}: it holds NaN or infinity. Give finite numbers.`);
  }
  return data instanceof own ? data : own.from(data);
}

/** Stored integers in real units: scale * (stored - zero point), rounded once to float32. */
function dequantized(data, quantization) {
  const real = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) real[i] = quantization.scale * (data[i] - quantization.zero_point);
  return real;
}

/** Real units as the model stores them: halves away from zero, saturated. */
function quantized(data, info) {
  const { scale, zero_point, dtype } = info.quantization;
  const [low, high] = LIMITS[dtype];
  const stored = new ARRAYS[dtype](data.length);
  for (let i = 0; i < data.length; i++) {
    const steps = Math.fround(data[i] / scale);
    const whole = Math.sign(steps) * Math.floor(Math.abs(steps) + 0.5) + zero_point;
    stored[i] = Math.min(Math.max(whole, low), high);
  }
  return stored;
}

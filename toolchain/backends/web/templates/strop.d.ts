/** Types of the module `strop.js`. */

export type Backend = "cpu" | "wasm" | "webgl" | "webgpu";
export type Numbers = Float32Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | number[];

/** How integers stand for real numbers: real = scale * (stored - zero_point). dtype: `i8`, `u8`, `i16`, `u16`, `i4`. */
export interface Quantization {
  dtype: string;
  scale: number;
  zero_point: number;
}

/** An input or output. dtype: of the numbers in `predict`. quantization: of those the model stores, if it is quantized. */
export interface TensorInfo {
  name: string;
  shape: number[];
  dtype: "float32" | "int32" | "bool";
  quantization?: Quantization;
}

export interface Tensor {
  name: string;
  shape: number[];
  data: Float32Array | Int32Array | Int8Array | Uint8Array | Int16Array | Uint16Array;
}

/** A tensor given to `predict`: the numbers alone, or with the shape that the caller takes them to have. */
export type Given = Numbers | { data: Numbers; shape?: number[] };

export interface LoadOptions {
  /** Where the engine computes; by default `wasm`. */
  backend?: Backend;
  /** Where the engine's packages are served; by default `node_modules/` beside the page. */
  modules?: string | URL;
  /** An engine that the page has imported itself: TensorFlow.js's `tf`, or the exports of `@litertjs/core`. */
  engine?: unknown;
}

export declare class StropError extends Error {}

export declare class Model {
  readonly name: string;
  readonly target: string;
  readonly precision: string;
  readonly macs: number;
  readonly inputs: TensorInfo[];
  readonly outputs: TensorInfo[];
  readonly backend: Backend;
  /** The engine with its version. */
  readonly engine: string;
  /**
   * Run once. One input may be given alone, several in order or by name, in real units or, where the model is quantized, as
   * the integers it stores. Outputs come in real units, with `stored` as integers. Throws StropError for what does not fit.
   */
  predict(input: Given | Given[] | Record<string, Given>, options?: { stored?: boolean }): Promise<Tensor[]>;
  /** Bytes that the engine holds, null where it does not tell. */
  memoryBytes(): number | null;
  dispose(): void;
}

/** Load the model of a folder (or its `strop.json`). */
export declare function load(url: string | URL, options?: LoadOptions): Promise<Model>;

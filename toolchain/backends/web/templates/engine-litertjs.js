/* The engine of a `litertjs` folder: LiteRT.js, which the page finds by the import map of index.html. */

const BACKENDS = ["wasm", "webgpu"];

let started = null;

/** @param {any} facts @param {URL} place @param {any} options */
export async function open(facts, place, options) {
  const backend = options.backend ?? "wasm";
  if (!BACKENDS.includes(backend)) throw new Error(`there is no backend '${backend}'. Use one of: ${BACKENDS.join(", ")}.`);
  const modules = new URL(options.modules ?? "node_modules/", globalThis.location?.href ?? place);
  const litert = options.engine ?? (await import("@litertjs/core"));
  started ??= litert.loadLiteRt(new URL("@litertjs/core/wasm/", modules).href);
  await started;
  const version = await fetch(new URL("@litertjs/core/package.json", modules))
    .then((answer) => answer.json())
    .then((document) => ` ${document.version}`)
    .catch(() => "");
  const model = await litert.loadAndCompile(new URL(facts.model, place).href, { accelerator: backend });
  return {
    backend,
    engine: `LiteRT.js${version}`,
    memoryBytes: () => litert.getGlobalLiteRt?.()?.liteRtWasm?.HEAPU8?.byteLength ?? null,
    dispose: () => model.delete(),
    async run(inputs) {
      const tensors = inputs.map((data, index) => new litert.Tensor(data, facts.inputs[index].shape));
      const results = await model.run(tensors);
      const arrays = [];
      for (const result of results) {
        const near = await result.moveTo("wasm");
        arrays.push(near.toTypedArray().slice());
        near.delete();
      }
      tensors.forEach((tensor) => tensor.delete());
      return arrays;
    },
  };
}

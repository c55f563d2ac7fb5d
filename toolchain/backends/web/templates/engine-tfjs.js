/* The engine of a `tfjs` folder: TensorFlow.js, from the packages that the page's server has under `node_modules/`. */

const SCOPE = "@tensorflow";
const BACKENDS = ["cpu", "wasm", "webgl", "webgpu"];
/* Registered beside the backend: what they lack, they hand to it. */
const BESIDE = { webgl: ["cpu"], webgpu: ["cpu"] };

const loaded = new Map();

/** Run a classic script once; the packages have no form that a browser can import as it is. */
function script(url) {
  const address = String(url);
  if (!loaded.has(address)) {
    loaded.set(
      address,
      new Promise((resolve, reject) => {
        const element = document.createElement("script");
        element.src = address;
        element.async = false;
        element.onload = () => resolve(undefined);
        element.onerror = () => reject(new Error(`${address} cannot be loaded. Run npm install in the folder of this page.`));
        document.head.append(element);
      }),
    );
  }
  return loaded.get(address);
}

/** TensorFlow.js with one backend. @param {string} backend @param {URL} modules */
async function library(backend, modules) {
  const names = ["core", "converter", ...(BESIDE[backend] ?? []).concat(backend).map((name) => `backend-${name}`)];
  const urls = names.map((name) => new URL(`${SCOPE}/tfjs-${name}/dist/tf-${name}.min.js`, modules));
  await Promise.all(urls.map(script));
  const tf = globalThis["tf"];
  if (backend === "wasm") tf.wasm.setWasmPaths(new URL(`${SCOPE}/tfjs-backend-wasm/dist/`, modules).href);
  return tf;
}

/** @param {any} facts @param {URL} place @param {any} options */
export async function open(facts, place, options) {
  const backend = options.backend ?? "wasm";
  if (!BACKENDS.includes(backend)) throw new Error(`there is no backend '${backend}'. Use one of: ${BACKENDS.join(", ")}.`);
  const modules = new URL(options.modules ?? "node_modules/", globalThis.location?.href ?? place);
  const tf = options.engine ?? (await library(backend, modules));
  if (!(await tf.setBackend(backend).catch(() => false))) {
    throw new Error(`this browser has no backend '${backend}'. Use wasm or cpu.`);
  }
  await tf.ready();
  const model = await tf.loadGraphModel(new URL(facts.model, place).href);
  return {
    backend,
    engine: `TensorFlow.js ${tf.version_core}`,
    memoryBytes: () => tf.memory().numBytes,
    dispose: () => model.dispose(),
    async run(inputs) {
      const tensors = inputs.map((data, index) => tf.tensor(data, facts.inputs[index].shape, facts.inputs[index].dtype));
      let results = [];
      try {
        results = [model.execute(tensors)].flat();
        return await Promise.all(results.map((tensor) => tensor.data()));
      } finally {
        tf.dispose([tensors, results]);
      }
    },
  };
}

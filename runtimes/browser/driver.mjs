/* Runs a web bundle in headless Chromium: node driver.mjs JOB.json. Serves to this machine alone, and ends with the job.
 *
 * job: chromium, flags, modules (node_modules), package (strop.js and engines), model (folder of the bundle), engine, backend,
 * folder (inputs as SAMPLE_INPUT.bin; outputs come there as out_SAMPLE_OUTPUT.bin, facts as result.json), samples, warm, timed. */

import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const here = fileURLToPath(new URL(".", import.meta.url));
const { answer } = await import(pathToFileURL(join(job.package, "serve.mjs")).href);
const { chromium } = createRequire(join(job.modules, "x.js"))("playwright-core");
const roots = { "/": here, "/node_modules/": job.modules, "/strop/": job.package, "/model/": job.model, "/job/": job.folder };

const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  if (request.method === "POST" && /^\/out_\d+_\d+$/.test(path)) {
    const parts = [];
    for await (const part of request) parts.push(part);
    await writeFile(join(job.folder, `${path.slice(1)}.bin`), Buffer.concat(parts));
    response.end();
    return;
  }
  if (path === "/strop/engine.js") request.url = `/strop/engine-${job.engine}.js`;
  await answer(request, response, roots);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${server.address().port}`;

let browser;
try {
  browser = await chromium.launch({ executablePath: job.chromium, headless: true, args: job.flags });
  const page = await browser.newPage();
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (fault) => said.push(String(fault)));
  await page.goto(`${address}/runner.html`);
  const result = await page.evaluate(inPage, { backend: job.backend, samples: job.samples, warm: job.warm, timed: job.timed });
  const facts = { ...result, browser: `Chromium ${browser.version()}`, said: said.slice(0, 20) };
  await writeFile(join(job.folder, "result.json"), JSON.stringify(facts));
} catch (fault) {
  await writeFile(join(job.folder, "fault.json"), JSON.stringify({ message: String(fault?.message ?? fault) }));
} finally {
  await browser?.close();
  server.close();
  server.closeAllConnections();
}

/* Runs in the page. */
async function inPage({ backend, samples, warm, timed }) {
  const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };
  const start = performance.now();
  const { load } = await import("/strop/strop.js");
  const model = await load("/model/", { backend, modules: "/node_modules/" });
  const loaded = performance.now();
  const read = async (sample) => {
    const parts = model.inputs.map((info, index) => fetch(`/job/${sample}_${index}.bin`).then((found) => found.arrayBuffer()));
    return (await Promise.all(parts)).map((bytes, index) => new ARRAYS[model.inputs[index].dtype](bytes));
  };
  let first = 0;
  let given = [];
  for (let sample = 0; sample < samples; sample++) {
    given = await read(sample);
    const begin = performance.now();
    const outputs = await model.predict(given);
    if (sample === 0) first = performance.now() - begin;
    await Promise.all(outputs.map((output, index) => fetch(`/out_${sample}_${index}`, { method: "POST", body: output.data.slice() })));
  }
  for (let run = 0; run < warm; run++) await model.predict(given);
  const steady = [];
  for (let run = 0; run < timed; run++) {
    const begin = performance.now();
    await model.predict(given);
    steady.push(performance.now() - begin);
  }
  const heap = performance["memory"]?.usedJSHeapSize ?? null;
  return { backend: model.backend, engine: model.engine, load_ms: loaded - start, first_ms: first, steady_ms: steady, memory_bytes: model.memoryBytes(), heap_bytes: heap };
}

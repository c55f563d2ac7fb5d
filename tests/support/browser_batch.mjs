/* Loads and runs many TF.js models in one page: node browser_batch.mjs JOB.json. Answers with bytes or a fault for each. */

import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const { answer } = await import(pathToFileURL(join(job.package, "serve.mjs")).href);
const { chromium } = createRequire(join(job.modules, "x.js"))("playwright-core");
const roots = { "/": job.browser, "/node_modules/": job.modules, "/strop/": job.package, "/models/": job.folder };
const server = createServer(async (request, response) => {
  if (request.url === "/strop/engine.js") request.url = "/strop/engine-tfjs.js";
  await answer(request, response, roots);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({ executablePath: job.chromium, headless: true, args: job.flags });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/runner.html`);
  const found = await page.evaluate(inPage, { names: job.names, backend: job.backend });
  await writeFile(join(job.folder, "found.json"), JSON.stringify(found));
} finally {
  await browser.close();
  server.close();
  server.closeAllConnections();
}

async function inPage({ names, backend }) {
  const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };
  const { load } = await import("/strop/strop.js");
  const found = {};
  for (const name of names) {
    try {
      const model = await load(`/models/${name}/`, { backend, modules: "/node_modules/" });
      const read = (info, index) => fetch(`/models/${name}/${index}.bin`).then((answer) => answer.arrayBuffer()).then((bytes) => new ARRAYS[info.dtype](bytes));
      const inputs = await Promise.all(model.inputs.map(read));
      const outputs = await model._engine.run(inputs);
      found[name] = outputs.map((data, index) => Array.from(new Uint8Array(ARRAYS[model.outputs[index].dtype].from(data).buffer)));
      model.dispose();
    } catch (fault) {
      found[name] = String(fault?.message ?? fault).slice(0, 300);
    }
  }
  return found;
}

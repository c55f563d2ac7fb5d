/* Opens a bundle's page as a visitor does: node page_visit.mjs JOB.json, and says what it shows. */

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const { chromium } = createRequire(join(job.modules, "x.js"))("playwright-core");
const browser = await chromium.launch({ executablePath: job.chromium, headless: true, args: job.flags });
try {
  const page = await browser.newPage();
  const faults = [];
  page.on("pageerror", (fault) => faults.push(String(fault)));
  await page.goto(job.url);
  await page.waitForFunction(() => document.documentElement.dataset.answeredMs || document.querySelector("#status.fault"), null, { timeout: 30000 });
  if (job.measured) await page.waitForFunction(() => document.getElementById("document").textContent.startsWith("{"), null, { timeout: 60000 });
  if (job.sent) await page.waitForFunction(() => document.documentElement.dataset.sent, null, { timeout: 10000 });
  const shown = await page.evaluate(async (script) => ({
    answered_ms: Number(document.documentElement.dataset.answeredMs),
    facts: document.getElementById("facts").textContent,
    status: document.getElementById("status").textContent,
    bars: document.querySelectorAll("#outputs li").length,
    document: document.getElementById("document").textContent,
    told: script ? await new Function(`return (async () => {${script}})()`)() : null,
  }), job.script);
  console.log(JSON.stringify({ ...shown, faults }));
} finally {
  await browser.close();
}

/* Opens a page in light and dark, wide and narrow: node report_visit.mjs JOB.json. Tells what a visitor could not read or reach. */

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const { chromium } = createRequire(join(job.modules, "x.js"))("playwright-core");
const browser = await chromium.launch({ executablePath: job.chromium, headless: true, args: job.flags });

/* Runs in the page: elements that stick out of it, and texts whose contrast is below 4.5. */
function look() {
  const wide = document.documentElement.clientWidth;
  const scrolls = (element) => element.closest(".scroll, nav, .zoom, .skip") !== null;
  const out = [...document.body.querySelectorAll("*")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.right > wide + 1 || box.left < -1) && !scrolls(e) && getComputedStyle(e).position !== "absolute";
  });
  const rgba = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const opaque = (color) => color.length === 3 || color[3] > 0.99;
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color.length && opaque(color)) return color;
    }
    return [255, 255, 255];
  };
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const faint = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const drawn = element.namespaceURI.endsWith("svg");
    if (!own || ["STYLE", "SCRIPT", "title", "OPTION"].includes(element.tagName) || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = rgba(drawn ? style.fill : style.color);
    const box = drawn ? element.parentElement.querySelector(":scope > rect, :scope > path") : null;
    const painted = box && ["label", "op"].includes(element.getAttribute("class")) ? rgba(getComputedStyle(box).fill) : null;
    const paper = painted && painted.length >= 3 ? painted : behind(drawn ? element.ownerSVGElement : element);
    const [high, low] = [light(ink), light(paper)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) faint.push(`${element.tagName}.${element.getAttribute("class")} "${element.textContent.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  const name = (e) => `${e.tagName}.${e.getAttribute("class")} ${e.textContent.slice(0, 30)}`;
  return {
    overflow: document.documentElement.scrollWidth - wide,
    out: out.slice(0, 5).map(name),
    faint: [...new Set(faint)].slice(0, 8),
    animations: document.getAnimations().length,
  };
}

/* What Tab reaches, in order, and whether each shows that it is focused. */
async function walk(page) {
  const reached = [];
  for (let i = 0; i < 400; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      if (!e || e === document.body) return null;
      const mark = getComputedStyle(e).outlineStyle !== "none";
      const seen = !!e.dataset.seen;
      e.dataset.seen = "1";
      return { what: `${e.tagName}.${e.className} ${e.getAttribute("aria-label") || e.textContent.slice(0, 20)}`, mark, seen };
    });
    if (!at || at.seen) break;
    reached.push(at);
  }
  return reached;
}

const told = {};
try {
  for (const width of job.widths) {
    for (const scheme of ["light", "dark"]) {
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: scheme });
      const faults = [];
      page.on("console", (message) => { if (["error", "warning"].includes(message.type())) faults.push(message.text()); });
      page.on("pageerror", (fault) => faults.push(String(fault)));
      page.on("requestfailed", (request) => faults.push(`failed ${request.url()}`));
      await page.goto(job.url);
      if (job.ready) await page.waitForSelector(job.ready, { timeout: 15000 });
      const name = `${width}-${scheme}`;
      const found = await page.evaluate(look);
      if (job.shots) await page.screenshot({ path: join(job.shots, `${name}.png`), fullPage: true });
      told[name] = { ...found, faults, reached: scheme === "light" ? await walk(page) : [] };
      if (job.script && name === `${job.widths[0]}-light`) told.script = await page.evaluate((code) => new Function(`return (async () => {${code}})()`)(), job.script);
      await page.close();
    }
  }
  if (job.shots) {
    const page = await browser.newPage();
    await page.goto(job.url);
    if (job.pdf) await page.pdf({ path: join(job.shots, "print.pdf"), preferCSSPageSize: true, printBackground: false });
    await page.close();
  }
  console.log(JSON.stringify(told));
} finally {
  await browser.close();
}

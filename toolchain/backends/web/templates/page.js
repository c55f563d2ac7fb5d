/* The page of a web bundle: runs a sample, measures, sends what it measured. `?backend=`, `?runs=` and `?post=` fill the fields,
 * and `?auto` does all of it as soon as the model is there. */

import { load } from "./strop.js";

const BACKENDS = { tfjs: ["wasm", "webgl", "webgpu", "cpu"], litertjs: ["wasm", "webgpu"] };
const SHOWN = 10;
const WARM_UP = 10;
const BINS = 40;

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);

/** @type {{model: import("./strop.js").Model, loadMs: number, firstMs: number | null} | null} */
let now = null;
let measurement = null;

function say(text, isFault = false) {
  at("status").textContent = text;
  at("status").classList.toggle("fault", isFault);
}

/** Do something with the buttons off; a fault is shown, not thrown. */
async function busy(text, action) {
  for (const id of ["run", "measure", "send"]) at(id).disabled = true;
  say(text);
  await new Promise((resolve) => setTimeout(resolve));
  try {
    await action();
    say("");
  } catch (fault) {
    say(String(fault?.message ?? fault), true);
  }
  at("run").disabled = at("measure").disabled = now === null;
  at("send").disabled = measurement === null;
}

async function start() {
  now?.model.dispose();
  now = null;
  const begin = performance.now();
  const model = await load(".", { backend: at("backend").value });
  now = { model, loadMs: performance.now() - begin, firstMs: null };
  at("load-ms").textContent = milliseconds(now.loadMs);
  for (const id of ["first-ms", "p50", "p95", "p99", "memory"]) at(id).textContent = "–";
  at("histogram").toggleAttribute("hidden", true);
  const shapes = (list) => list.map((info) => info.shape.join(" × ")).join(", ");
  at("facts").textContent = `${model.engine} on ${model.backend} · ${model.macs.toLocaleString("en")} MACs · ${shapes(model.inputs)} in, ${shapes(model.outputs)} out`;
}

/** Numbers that a seed determines, over what the input can hold: (0, 1) is taken where nothing limits it. */
function randomNumbers(count, info, seed) {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const { low, high } = span(info);
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return low + (state / 2 ** 32) * (high - low);
  });
}

function span(info) {
  if (!info.quantization) return { low: 0, high: 1 };
  const { scale, zero_point, dtype } = info.quantization;
  const [first, last] = dtype === "u8" ? [0, 255] : dtype === "i16" ? [-32768, 32767] : [-128, 127];
  return { low: scale * (first - zero_point), high: scale * (last - zero_point) };
}

async function samples() {
  const source = at("source").value;
  if (source === "file") {
    const file = at("file").files[0];
    if (!file) throw new Error("No file was chosen.");
    return [new Float32Array(await file.arrayBuffer())];
  }
  return now.model.inputs.map((info, index) => {
    const count = info.shape.reduce((product, size) => product * size, 1);
    const data = source === "zeros" ? new Float32Array(count) : randomNumbers(count, info, Number(at("seed").value) + index);
    return info.dtype === "float32" ? data : Int32Array.from(data);
  });
}

async function runOnce() {
  const given = await samples();
  const begin = performance.now();
  const outputs = await now.model.predict(given);
  if (now.firstMs === null) {
    now.firstMs = performance.now() - begin;
    at("first-ms").textContent = milliseconds(now.firstMs);
    document.documentElement.dataset.answeredMs = String(performance.now());
  }
  show(outputs[0]);
  return { given, outputs };
}

/** The largest elements as bars. */
function show(output) {
  const ranked = Array.from(output.data, (value, index) => ({ value, index })).sort((a, b) => b.value - a.value);
  const largest = Math.max(...ranked.slice(0, SHOWN).map((item) => Math.abs(item.value)), Number.MIN_VALUE);
  const items = ranked.slice(0, SHOWN).map(({ value, index }) => {
    const item = document.createElement("li");
    item.style.setProperty("--share", `${(100 * Math.max(value, 0)) / largest}%`);
    item.append(cell(`${output.name} [${index}]`), cell(number(value)));
    return item;
  });
  if (ranked.length > SHOWN) {
    const more = document.createElement("li");
    more.className = "more";
    more.append(cell(`${(ranked.length - SHOWN).toLocaleString("en")} smaller ones`));
    items.push(more);
  }
  at("outputs").replaceChildren(...items);
}

function cell(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
}

async function measure() {
  const { given, outputs } = await runOnce();
  for (let run = 0; run < WARM_UP; run++) await now.model.predict(given);
  const times = [];
  const runs = Math.min(Math.max(Number(at("runs").value) || 100, 5), 10000);
  for (let run = 0; run < runs; run++) {
    const begin = performance.now();
    await now.model.predict(given);
    times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  const quantiles = Object.fromEntries([50, 95, 99].map((share) => [`p${share}`, quantile(times, share / 100)]));
  for (const [name, value] of Object.entries(quantiles)) at(name).textContent = milliseconds(value);
  const memory = now.model.memoryBytes();
  at("memory").textContent = memory === null ? "–" : megabytes(memory);
  histogram(times);
  measurement = {
    name: now.model.name,
    target: "browser",
    precision: now.model.precision,
    macs: now.model.macs,
    runtime: `${now.model.engine}, ${now.model.backend}`,
    device: navigator.userAgent,
    load_us: Math.round(1000 * now.loadMs),
    first_us: Math.round(1000 * now.firstMs),
    latency_us: Object.fromEntries(Object.entries(quantiles).map(([name, value]) => [name, Math.round(1000 * value)])),
    runs,
    memory_bytes: memory,
    outputs_sha256: await digest(outputs),
    time: new Date().toISOString(),
  };
  at("document").textContent = JSON.stringify(measurement, null, 2);
}

/** The value below which a share of sorted times lies, between neighbours in proportion. */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}

function histogram(sorted) {
  const low = sorted[0];
  const high = Math.max(quantile(sorted, 0.99), low + 1e-3);
  const counts = new Array(BINS).fill(0);
  for (const time of sorted) if (time <= high) counts[Math.min(Math.floor(((time - low) / (high - low)) * BINS), BINS - 1)]++;
  const most = Math.max(...counts);
  const bars = counts.map((count, index) => {
    const height = (66 * count) / most;
    return `<rect x="${index * 10 + 1}" y="${70 - height}" width="8" height="${height}" rx="1.5"></rect>`;
  });
  const marks = `<line x1="0" x2="400" y1="70.5" y2="70.5"></line><text x="0" y="86">${milliseconds(low)}</text><text x="400" y="86" text-anchor="end">${milliseconds(high)}</text>`;
  at("histogram").innerHTML = bars.join("") + marks;
  at("histogram").toggleAttribute("hidden", false);
}

/** SHA-256 over the outputs in order, null where the page is not served from a secure place. */
async function digest(outputs) {
  if (!globalThis.crypto?.subtle) return null;
  const bytes = await new Blob(outputs.map((output) => output.data)).arrayBuffer();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send() {
  const url = at("url").value;
  if (!url) throw new Error("No address was given.");
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(measurement) });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status} ${answer.statusText}.`);
  document.documentElement.dataset.sent = "yes";
}

const number = (value) => (value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential(1) : Number(value.toPrecision(4)).toString());
const milliseconds = (value) => (value < 10 ? `${value.toFixed(2)} ms` : `${value.toFixed(0)} ms`);
const megabytes = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

const facts = await (await fetch("strop.json")).json();
at("backend").replaceChildren(...BACKENDS[facts.engine].map((name) => new Option(name)));
at("backend").value = query.get("backend") ?? "wasm";
at("runs").value = query.get("runs") ?? "100";
at("url").value = query.get("post") ?? "";
at("backend").addEventListener("change", () => busy("Loading the model …", start));
at("source").addEventListener("change", () => {
  at("seed-label").hidden = at("source").value !== "random";
  at("file-label").hidden = at("source").value !== "file";
});
at("run").addEventListener("click", () => busy("Running …", runOnce));
at("measure").addEventListener("click", () => busy("Measuring …", measure));
at("send").addEventListener("click", () => busy("Sending …", send));

await busy("Loading the model …", start);
if (now) await busy("Running …", runOnce);
if (now && query.has("auto")) {
  await busy("Measuring …", measure);
  if (at("url").value) await busy("Sending …", send);
}

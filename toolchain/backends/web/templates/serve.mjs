/* Serves this folder to this machine alone: node serve.mjs [PORT]. Needs nothing but Node. */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** Answer a request for a file below one of the roots, given by path prefix; the longest prefix counts. */
export async function answer(request, response, roots) {
  const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
  const prefix = Object.keys(roots)
    .filter((start) => path.startsWith(start))
    .sort((a, b) => b.length - a.length)[0];
  const root = prefix === undefined ? undefined : normalize(roots[prefix]);
  const rest = prefix === undefined ? "" : path.slice(prefix.length) || "index.html";
  const file = root === undefined ? undefined : normalize(join(root, rest.endsWith("/") ? `${rest}index.html` : rest));
  const inside = file !== undefined && (file === root || file.startsWith(root.endsWith(sep) ? root : root + sep));
  const found = inside ? await stat(file).catch(() => undefined) : undefined;
  if (!found?.isFile()) {
    response.writeHead(404, { "content-type": "text/plain" }).end("not found\n");
    return;
  }
  const type = TYPES[extname(file)] ?? "application/octet-stream";
  response.writeHead(200, { "content-type": type, "content-length": found.size, "cache-control": "no-cache" });
  createReadStream(file).pipe(response);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = fileURLToPath(new URL(".", import.meta.url));
  const port = Number(process.argv[2] ?? 8080);
  const server = createServer((request, response) => void answer(request, response, { "/": root }));
  server.listen(port, "127.0.0.1", () => {
    console.log(`http://127.0.0.1:${server.address().port}/`);
  });
}

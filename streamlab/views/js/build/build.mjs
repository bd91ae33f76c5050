// Bundles vega, vega-lite and vega-embed into ../lib.mjs.gz, and writes ../LICENSES.txt and
// ../lib.sha256 beside it. Run `npm ci && npm run build` here after changing a version.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

const ENTRY = `
import embed from "vega-embed";
import * as vega from "vega";
export { embed, vega };
`;

// The package a bundled file belongs to: the nearest folder above it directly in node_modules.
function home(file) {
  const parts = file.split("/");
  const at = parts.lastIndexOf("node_modules");
  if (at < 0) return null;
  const deep = parts[at + 1].startsWith("@") ? 3 : 2;
  return parts.slice(0, at + deep).join("/");
}

function licence(folder) {
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((name) => /^(licen[cs]e|copying)/i.test(name));
  const kind = about.license ?? about.licenses?.[0]?.type ?? "not stated";
  const who = typeof about.author === "string" ? about.author : about.author?.name ?? "";
  const text = file ? readFileSync(join(folder, file), "utf8").trim() : `${kind}, by ${who}`;
  return { name: about.name, version: about.version, kind, text };
}

const result = await build({
  stdin: { contents: ENTRY, resolveDir: process.cwd() },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  metafile: true,
  write: false,
});

const used = Object.entries(Object.values(result.metafile.outputs)[0].inputs)
  .filter(([, part]) => part.bytesInOutput > 0)
  .map(([file]) => home(file))
  .filter((folder) => folder && existsSync(join(folder, "package.json")));
const licences = [...new Set(used)]
  .map(licence)
  .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));

const packed = gzipSync(result.outputFiles[0].contents, { level: 9 });
packed[9] = 255; // byte 9 names the operating system; the same bytes everywhere
const out = dirname(process.cwd());
const rule = "\n" + "-".repeat(78) + "\n";
writeFileSync(join(out, "lib.mjs.gz"), packed);
writeFileSync(
  join(out, "LICENSES.txt"),
  "lib.mjs.gz contains parts of the packages below, each under its own licence.\n" +
    licences.map((l) => `${rule}${l.name} ${l.version} (${l.kind})\n\n${l.text}\n`).join(""),
);
writeFileSync(
  join(out, "lib.sha256"),
  createHash("sha256").update(packed).digest("hex") + "  lib.mjs.gz\n",
);
console.log(`${packed.length} bytes, ${licences.length} packages`);

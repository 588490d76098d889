// Builds dist/ from src/: `npm run build`.
//
// The same sources give the same bytes on any machine and in any folder, because dist/ is
// committed: users of the Go package need no npm, and check.mjs compares.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import { minify } from "terser";

export const root = fileURLToPath(new URL(".", import.meta.url));
export const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** The modules of the package: those of these that have a source. */
export const entries = ["ginsse", "control", "eventsource", "react", "vue", "testing"].filter((name) => existsSync(join(root, `src/${name}.ts`)));

/** What the page's module may weigh, in bytes after gzip -9. */
const limit = 5120;

const internal = ["opened", "received", "ended", "replaced", "save", "position", "begin", "want", "hurry", "check", "update", "ask"];

/** Their short names: letters that are frequent in the code come first. */
const letters = "tensroaicludbfghjkmpqvwxyz";

/** What the unit tests are built with too. */
export const options = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  packages: "external",
  // Names that no page and no other tab sees, short and the same in all modules. A name of the browser
  // must not be among them.
  mangleProps: new RegExp(`^(${internal.join("|")})$`),
  mangleCache: Object.fromEntries(internal.map((name, i) => [name, letters[i]])),
  logLevel: "warning",
};

/** Builds everything. Returns the content of each file of dist/ by its name; writes nothing. */
export async function build() {
  const files = new Map();
  // All entries in one build, so that a property has the same short name in each of them.
  const { outputFiles } = await esbuild.build({
    ...options,
    entryPoints: entries.map((name) => `src/${name}.ts`),
    outdir: "dist", // the paths in the source maps are relative to it
    write: false,
    sourcemap: true,
    minifySyntax: true,
    plugins: [{ name: "one copy of ginsse.js", setup: shareGinsse }],
  });
  const text = (name) => outputFiles.find(({ path }) => path === join(root, "dist", name)).text;
  for (const name of entries.map((name) => `${name}.js`)) {
    // 4 % smaller after gzip than what esbuild minifies.
    const { code, map } = await minify({ [name]: text(name) }, {
      ecma: 2022,
      module: true,
      compress: { passes: 3, pure_getters: true, unsafe_arrows: true, directives: false }, // keeps "use client"
      format: { preamble: `/*! ${manifest.name} ${manifest.version} | ${manifest.license} */` },
      sourceMap: { content: text(`${name}.map`), filename: name, url: `${name}.map`, includeSources: true },
    });
    files.set(name, Buffer.from(code));
    files.set(`${name}.map`, Buffer.from(map));
  }
  for (const [name, content] of types()) {
    files.set(name, content);
  }
  return files;
}

/** Makes the other entries import ginsse.js instead of a copy of it. */
function shareGinsse({ onResolve }) {
  onResolve({ filter: /^\.\/ginsse\.js$/ }, ({ path }) => ({ path, external: true }));
}

/** Returns the declarations of the entries, and of the files that these import. */
function types() {
  const emitted = mkdtempSync(join(tmpdir(), "ginsse-types-"));
  try {
    tsc(["-p", join(root, "tsconfig.build.json"), "--outDir", emitted]);
    const found = new Map();
    const add = (name) => {
      if (found.has(name)) {
        return;
      }
      const content = readFileSync(join(emitted, name));
      found.set(name, content);
      for (const [, path] of content.toString().matchAll(/\b(?:from|import)\s*\(?\s*["'](\.[^"']+)\.js["']/g)) {
        add(posix.join(posix.dirname(name), `${path}.d.ts`));
      }
    };
    entries.forEach((name) => add(`${name}.d.ts`));
    return found;
  } finally {
    rmSync(emitted, { recursive: true });
  }
}

/** Runs the TypeScript compiler. Its messages go to stderr; it throws if there are errors. */
export function tsc(args, cwd = root) {
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const { status } = spawnSync(process.execPath, [compiler, ...args], { cwd, stdio: ["ignore", 2, 2] });
  if (status !== 0) {
    throw new Error("the TypeScript compiler has found errors: see above");
  }
}

/** Prints what each module weighs. Throws if the page's is too heavy. */
export function weigh(files) {
  console.log("bytes               raw   gzip -9    brotli");
  for (const name of entries.map((name) => `${name}.js`)) {
    const content = files.get(name);
    const gzip = gzipSync(content, { level: 9 }).length;
    const columns = [content.length, gzip, brotliCompressSync(content).length];
    console.log(name.padEnd(13) + columns.map((n) => String(n).padStart(10)).join(""));
    if (name === "ginsse.js" && gzip > limit) {
      throw new Error(`${name} has ${gzip} bytes after gzip -9, but the limit is ${limit}`);
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = await build();
  rmSync(join(root, "dist"), { recursive: true, force: true });
  mkdirSync(join(root, "dist"));
  for (const [name, content] of files) {
    writeFileSync(join(root, "dist", name), content);
  }
  weigh(files);
}

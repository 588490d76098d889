// Runs the unit tests, test/*.test.ts: `npm test`, or `npm test -- decoder` for the files whose
// names contain "decoder".
//
// They are built as dist/ is, but not minified: a property that is renamed by mistake fails them.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as esbuild from "esbuild";
import { options, root } from "./build.mjs";

const wanted = process.argv.slice(2);
const names = readdirSync(join(root, "test")).filter(
  (name) => name.endsWith(".test.ts") && (wanted.length === 0 || wanted.some((part) => name.includes(part))),
);
if (names.length === 0) {
  throw new Error("no file of test/ has such a name");
}

// In node_modules, so that the tests find the packages that they import.
mkdirSync(join(root, "node_modules/.cache"), { recursive: true });
const folder = mkdtempSync(join(root, "node_modules/.cache/test-"));
try {
  await esbuild.build({
    ...options,
    entryPoints: names.map((name) => `test/${name}`),
    outdir: folder,
    splitting: true, // a test can prepare what a module that it imports later looks for
    outExtension: { ".js": ".mjs" },
    sourcemap: "inline",
  });
  const files = names.map((name) => join(folder, name.replace(/\.ts$/, ".mjs")));
  const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" });
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}

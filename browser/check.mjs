// Checks what is committed and what would be published: `npm run check`. It changes nothing.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build, entries, manifest, root, tsc, weigh } from "./build.mjs";

const read = (path) => readFileSync(join(root, path));
const list = (folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length));

const problems = [];
const expect = (ok, problem) => ok || problems.push(problem);

/** dist/ is what the sources build. */
async function checkBuild() {
  const built = await build();
  weigh(built);
  const committed = existsSync(join(root, "dist")) ? list("dist").map((path) => path.slice("dist/".length)) : [];
  const differing = [...new Set([...built.keys(), ...committed])]
    .filter((name) => !committed.includes(name) || !built.get(name)?.equals(read(`dist/${name}`)));
  expect(differing.length === 0, `dist/ is not what src/ builds: ${differing.sort().join(", ")}. Run \`npm run build\` and commit dist/.`);
  expect(built.get("react.js")?.includes(`"use client";`), `react.js lacks "use client", which frameworks with server components need.`);
  return [...built.keys()];
}

/** The files that describe the package agree with each other and with the repository. */
function checkManifest() {
  expect(read("LICENSE").equals(read("../LICENSE")), "LICENSE is not the repository's: copy ../LICENSE.");
  const lock = read("package-lock.json").toString();
  expect(JSON.parse(lock).version === manifest.version, "package-lock.json has another version: run `npm install`.");
  expect(!/"resolved"/.test(lock), "package-lock.json names a registry: remove it and node_modules, and run `npm install` here, where .npmrc is.");
  for (const [name, version] of Object.entries(manifest.devDependencies)) {
    expect(/^\d+\.\d+\.\d+$/.test(version), `package.json does not pin ${name}: ${version}.`);
  }
  const exported = { "./package.json": "./package.json" };
  for (const name of entries) {
    exported[name === "ginsse" ? "." : `./${name}`] = { types: `./dist/${name}.d.ts`, default: `./dist/${name}.js` };
  }
  for (const path of new Set([...Object.keys(exported), ...Object.keys(manifest.exports)])) {
    const [want, got] = [exported, manifest.exports].map((exports) => JSON.stringify(exports[path]));
    expect(want === got, want ? `package.json needs the export ${JSON.stringify(path)}: ${want}.` : `package.json exports ${path}, which has no source.`);
  }
}

/** The tarball has the files that it should, and works for those who install it. */
function checkPackage(built) {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "ginsse-package-")));
  try {
    const [packed] = Object.values(JSON.parse(execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", 2],
    })));
    const want = ["package.json", "README.md", "HOOKS.md", "LICENSE", ...built.map((name) => `dist/${name}`), ...list("src")];
    const got = packed.files.map((file) => file.path);
    const missing = want.filter((path) => !got.includes(path));
    const unwanted = got.filter((path) => !want.includes(path));
    expect(missing.length === 0, `the tarball lacks ${missing.join(", ")}.`);
    expect(unwanted.length === 0, `the tarball should not have ${unwanted.join(", ")}.`);

    const modules = join(folder, "node_modules");
    mkdirSync(join(modules, "ginsse"), { recursive: true });
    execFileSync("tar", ["-xzf", join(folder, packed.filename), "-C", join(modules, "ginsse"), "--strip-components=1"]);
    // The frameworks, and their types, as far as they are installed here.
    for (const name of Object.keys(manifest.peerDependencies).flatMap((name) => [name, `@types/${name}`])) {
      if (existsSync(join(root, "node_modules", name))) {
        mkdirSync(dirname(join(modules, name)), { recursive: true });
        symlinkSync(realpathSync(join(root, "node_modules", name)), join(modules, name));
      }
    }
    checkTypes(folder);
    checkImport(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A page in TypeScript compiles against the package, and its mistakes are found. */
function checkTypes(folder) {
  const others = entries.filter((name) => name !== "ginsse");
  writeFileSync(join(folder, "page.ts"), `
    import { connect, type State, type Stream } from "ginsse";
    type Events = { comment: { text: string } };
    const stream: Stream<Events> = connect<Events>("/events", { topics: ["post:7"] });
    stream.on("comment", (comment, event) => console.log(comment.text.length, event.id.length));
    stream.onState((state: State) => console.log(state));
    // @ts-expect-error: there is no such event
    stream.on("coment", () => {});
    // @ts-expect-error: there is no such option
    connect("/events", { topic: "post:7" });
    ${others.map((name) => `
    import * as ${name} from "ginsse/${name}";
    // @ts-expect-error: there is no such export
    ${name}.noSuchExport;`).join("")}
  `);
  writeFileSync(join(folder, "package.json"), `{ "type": "module" }`);
  for (const [module, moduleResolution] of [["node16", "node16"], ["esnext", "bundler"]]) {
    try {
      tsc([
        ...["--module", module, "--moduleResolution", moduleResolution, "--target", "es2022", "--lib", "es2022,dom,dom.iterable"],
        ...["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--types", "", "page.ts"],
      ], folder);
    } catch {
      problems.push(`a page does not compile against the package with moduleResolution ${moduleResolution}: see above.`);
    }
  }
}

/** Node finds each module of the package that needs no framework. */
function checkImport(folder) {
  const names = entries.filter((name) => !(name in manifest.peerDependencies));
  const program = names.map((name) => `import * as ${name} from "ginsse${name === "ginsse" ? "" : `/${name}`}";`).join("");
  writeFileSync(join(folder, "page.js"), `${program} if (typeof ginsse.connect !== "function") throw new Error("there is no connect");`);
  try {
    execFileSync(process.execPath, ["page.js"], { cwd: folder, stdio: ["ignore", 2, 2] });
  } catch {
    problems.push("the package cannot be imported: see above.");
  }
}

const built = await checkBuild();
checkManifest();
checkPackage(built);
for (const problem of problems) {
  console.error(`check: ${problem}`);
}
process.exitCode = problems.length === 0 ? 0 : 1;

// Parses Mermaid texts: `node mermaid.mjs NODE_MODULES FILE...`; exits with 1 and says why where one is none.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, ...files] = process.argv.slice(2);
const { JSDOM } = createRequire(`${modules}/`)("jsdom");
globalThis.window = new JSDOM("").window;
globalThis.document = globalThis.window.document;
const { default: mermaid } = await import(pathToFileURL(`${modules}/mermaid/dist/mermaid.core.mjs`));
for (const file of files) {
  try {
    const { diagramType } = await mermaid.parse(readFileSync(file, "utf8"));
    console.log(`${file}: ${diagramType}`);
  } catch (error) {
    console.log(`${file}: ${error.message}`);
    process.exitCode = 1;
  }
}

// Checks AsyncAPI documents: node check.js FILE... Prints what is wrong with each, and ends with 1 when one is not valid.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const ERROR = 0;
const count = (list) => list.all().length;
const parser = new Parser();
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(readFileSync(file, "utf8"));
  for (const { severity, path, code, message } of diagnostics) {
    const word = severity === ERROR ? "error" : "note";
    console.log(`${file}: ${word}: ${path.join(".")}: ${message} (${code})`);
  }
  if (document === undefined) {
    console.log(`${file}: not valid`);
    process.exitCode = 1;
  } else {
    console.log(`${file}: valid: ${count(document.channels())} channels, ${count(document.operations())} operations`);
  }
}

// Checks texts with Harper, whose rules run here in WebAssembly. Reads {words, off, pages} as JSON, and prints each
// finding as a line of JSON.
import { readFileSync } from "node:fs";
import { Dialect, LocalLinter } from "harper.js";
import { binary } from "harper.js/binary";

const { words, off, pages } = JSON.parse(readFileSync(0, "utf8"));
const linter = new LocalLinter({ binary, dialect: Dialect.British });
const config = await linter.getDefaultLintConfig();
const unknown = off.filter((rule) => !(rule in config));
if (unknown.length) throw new Error(`Harper has no rule ${unknown.join(", ")}.`);
await linter.setLintConfig({ ...config, ...Object.fromEntries(off.map((rule) => [rule, false])) });
await linter.importWords(words);

for (const [page, text] of Object.entries(pages)) {
  const characters = [...text]; // spans count characters, not the halves of a pair that JavaScript counts
  for (const [rule, lints] of Object.entries(await linter.organizedLints(text))) {
    for (const lint of lints) {
      const { start, end } = lint.span();
      const finding = {
        page,
        rule,
        line: characters.slice(0, start).filter((character) => character === "\n").length + 1,
        words: lint.get_problem_text(),
        around: characters.slice(Math.max(0, start - 40), end + 40).join(""),
        message: lint.message(),
        instead: lint.suggestions().map((suggestion) => suggestion.get_replacement_text()),
      };
      console.log(JSON.stringify(finding));
    }
  }
}

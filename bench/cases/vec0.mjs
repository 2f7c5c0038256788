// Tables of sqlite-vec, which keeps a thousand vectors in one BLOB, beside ordinary ones with the same vectors.
import { rmSync } from "node:fs";
import { expectData } from "../lib/digest.mjs";
import { llmspell, must } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "vec0 tables of SQLite";

const remove = (database) => {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(database + suffix, { force: true });
};

export async function run(bench, report) {
  const set = bench.dataSet("vectors");
  const document = await set.document();
  const digest = await set.digest();
  const again = bench.path("again.json");
  const load = (shape, database) =>
    llmspell("storage", "import", "--database", database, "--vectors-as", shape, "--input", document);
  const unload = (database, output) => llmspell("storage", "export", "--database", database, "--output", output);

  const into = (shape) => {
    const database = bench.path(`into-${shape}.db`);
    const check = async () => {
      must(unload(database, again));
      await expectData(again, digest);
      rmSync(again);
    };
    return { name: shape, command: load(shape, database), output: database, check, clean: () => remove(database) };
  };
  const outOf = (shape) => {
    const output = bench.path(`${shape}.json`);
    const database = bench.path(`${shape}.db`);
    must(load(shape, database));
    const check = () => expectData(output, digest);
    return { name: shape, command: unload(database, output), output, check, clean: () => rmSync(output) };
  };

  const results = { into: await interleave(bench, ["blob", "vec0"].map(into)) };
  report.contenders("Document -> new tables", results.into);
  results.outOf = await interleave(bench, ["blob", "vec0"].map(outOf));
  report.contenders("Tables -> document", results.outOf);
  report.ratio("document -> vec0 tables", "ordinary tables", results.into, "vec0", "blob");
  report.rss("document -> vec0 tables", results.into, "vec0");
  report.ratio("vec0 tables -> document", "ordinary tables", results.outOf, "vec0", "blob");
  report.rss("vec0 tables -> document", results.outOf, "vec0");
  for (const shape of ["blob", "vec0"]) remove(bench.path(`${shape}.db`));
}

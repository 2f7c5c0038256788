/** What a comparison of a database's schema says, as findings. */
import type { SchemaComparison, SchemaDifference } from "../llmspell/schema/comparison.js";
import type { Finding } from "../verify/comparison/references.js";

/**
 * What is gone, or is there and does not work; and indexes of llmspell's own that `database migrate` would make again. What
 * else it would add is no fault, nor which rowids vectors have.
 */
export function schemaFindings({ missing, pending, broken }: SchemaComparison): Finding[] {
  const lost = [...missing, ...pending.filter(isIndex)];
  const repaired = broken.filter(({ object }) => !object.startsWith("rowids "));
  return [
    ...lost.map(({ object }) => finding(object, `${object} is missing: \`llmspell database migrate\` makes it again`)),
    ...repaired.map(({ object, repair }) => finding(object, `${object} is missing or does not work: ${repair}`)),
  ];
}

/** Of a table that is there; those that we add to llmspell's schema (S1 and on) a database may lack. */
function isIndex({ object, migration }: SchemaDifference): boolean {
  return object.startsWith("index ") && migration.startsWith("V");
}

function finding(object: string, message: string): Finding {
  return { check: "schema", object, count: 1, message };
}

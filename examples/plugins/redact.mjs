// A plugin: every e-mail address in a JSON field, however deep, becomes [redacted]; everything else stays as it is.
// llmspell storage export --backend sqlite --output for-staging.json --plugin ./redact.mjs
import { defineTransform } from "llmspell-storage";

const ADDRESS = /[\w.+-]+@[\w-]+(\.[\w-]+)+/g;

function redacted(value) {
  if (typeof value === "string") return value.replace(ADDRESS, "[redacted]");
  if (Array.isArray(value)) return value.map(redacted);
  // Numbers that a double cannot hold come as bigints and as frozen objects (JSON.rawJSON): they pass as they are.
  if (typeof value !== "object" || value === null || JSON.isRawJSON(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, redacted(one)]));
}

export default defineTransform({
  name: "redact",
  sections: ["sessions", "event_log", "kv_store", "vector_embeddings", "knowledge_graph"],
  // Nothing is left out, so nothing has to be looked up beforehand.
  drops: false,
  transform(record) {
    for (const field of ["session_data", "payload", "metadata", "properties"])
      if (field in record && record[field] !== undefined) record[field] = redacted(record[field]);
    return record;
  },
});

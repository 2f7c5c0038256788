// What the cases of merges share.
/** The tables with an HNSW index, and the one with large objects, which a staged merge cannot do. */
export const HNSW = [384, 768, 1536].map((dimension) => `vector_embeddings_${dimension}`);
export const CONTENT = "artifact_content";

const sectionOf = (table) => (table === CONTENT ? "artifacts.content" : table.replace("embeddings_", "embeddings."));

/** The options that leave the tables out of an import. */
export const excluding = (tables) => tables.flatMap((table) => ["--exclude", sectionOf(table)]);

/** The name of a copy of the database in which no row of the tables is as it was, and none is dead. */
export async function changeAll(server, database, tables) {
  const name = "merge_changed";
  await server.create(name, database);
  for (const table of tables) {
    const column =
      table === "event_log" ? "sequence = sequence + 1" : "created_at = created_at + interval '1 microsecond'";
    await server.sql(`SET session_replication_role = replica; UPDATE llmspell.${table} SET ${column}`, name);
  }
  await server.sql("VACUUM (FULL, ANALYZE)", name);
  return name;
}

// The data sets, as rows per table. Tables whose number grows with nothing but the factor.
const MIB = 1048576;

/** The standard set: about 1.1 GB of document, a third of it artifacts. */
const STANDARD = {
  rows: {
    vector_embeddings_384: 1000,
    vector_embeddings_768: 40_000,
    vector_embeddings_1536: 500,
    vector_embeddings_3072: 500,
    entities: 100_000,
    relationships: 100_000,
    procedural_patterns: 2000,
    agent_states: 1000,
    kv_store: 100_000,
    workflow_states: 1000,
    sessions: 10_000,
    artifact_content: 200,
    artifacts: 200,
    event_log: 400_000,
    hook_history: 2000,
  },
  content: { from: 1024, to: 20 * MIB },
};

/** About 10 GB of document; its bulk is in tables without HNSW, whose build would take most of the time. */
const LARGE = {
  rows: {
    vector_embeddings_384: 10_000,
    vector_embeddings_768: 50_000,
    vector_embeddings_1536: 2000,
    vector_embeddings_3072: 200_000,
    entities: 500_000,
    relationships: 500_000,
    procedural_patterns: 50_000,
    agent_states: 50_000,
    kv_store: 1_500_000,
    workflow_states: 50_000,
    sessions: 200_000,
    artifact_content: 1000,
    artifacts: 2000,
    event_log: 3_500_000,
    hook_history: 200_000,
  },
  content: { from: 1024, to: 20 * MIB },
};

/** For the rewriting case: about 1 GB of document, 1536-dimensional vectors and sessions most of all. */
const REWRITE = {
  rows: { vector_embeddings_1536: 60_000, sessions: 300_000, kv_store: 100_000, event_log: 300_000 },
  content: STANDARD.content,
};

/** For the case of vec0 tables: its chunks are the larger, the more dimensions there are. */
const VECTORS = {
  rows: { vector_embeddings_768: 10_000, vector_embeddings_3072: 10_000 },
  content: STANDARD.content,
};

/**
 * What users have: the tables that llmspell itself made, every section, Unicode in every text (mixed-rows.mjs). About 0.5 GB of
 * document.
 */
const MIXED = {
  own: true,
  rows: {
    vector_embeddings_384: 5000,
    vector_embeddings_768: 2000,
    vector_embeddings_1536: 500,
    vector_embeddings_3072: 200,
    entities: 80_000,
    relationships: 80_000,
    procedural_patterns: 20_000,
    agent_states: 5000,
    kv_store: 60_000,
    workflow_states: 5000,
    sessions: 20_000,
    artifact_content: 200,
    artifacts: 2000,
    event_log: 250_000,
    hook_history: 80_000,
  },
  content: { from: 1024, to: 2 * MIB },
};

/** For the case of tables larger than memory: one, whose keys are UUIDs, with rows of some hundred bytes. */
const COLD = { rows: { kv_store: 1_500_000 }, content: STANDARD.content };

const SETS = { cold: COLD, standard: STANDARD, mixed: MIXED, large: LARGE, rewrite: REWRITE, vectors: VECTORS };

/** Of a `least` rows each where the set has the table: every path is taken at any factor. */
export function sizes(set, factor = 1, least = 6) {
  const { rows, content, own } = SETS[set];
  const scaled = Object.entries(rows).map(([table, count]) => [table, Math.max(least, Math.round(count * factor))]);
  // A few artifacts of megabytes would be most of a very small set.
  const to = factor >= 0.02 ? content.to : Math.max(2 * MIB, content.to * factor);
  return { rows: Object.fromEntries(scaled), content: { ...content, to }, own };
}

/** One artifact of 100 MiB, the largest that there may be, among a few MB of everything else. */
export function oneLargeArtifact(factor = 1) {
  const small = sizes("large", 0.002 * factor);
  const size = factor >= 1 ? 100 * MIB : 3 * MIB;
  return { rows: { ...small.rows, artifact_content: 6 }, content: { from: 1024, to: 4096, first: size } };
}

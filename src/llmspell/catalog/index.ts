/**
 * llmspell's catalog: every record kind, in the document's order. A new kind is one file here and its SQL in ../schema/
 * (docs/adding-a-record-kind.md).
 */
import { type Catalog, createCatalog, type Field, type FieldValues } from "../../catalog/index.js";
import { agentState } from "./agent-state.js";
import { artifactContent } from "./artifact-content.js";
import { artifacts } from "./artifacts.js";
import { entities } from "./entities.js";
import { eventLog } from "./event-log.js";
import { hookHistory } from "./hook-history.js";
import { kvStore } from "./kv-store.js";
import { proceduralMemory } from "./procedural-memory.js";
import { relationships } from "./relationships.js";
import { sessions } from "./sessions.js";
import { vectorEmbeddings } from "./vector-embeddings.js";
import { workflowStates } from "./workflow-states.js";

const kinds = [
  ...vectorEmbeddings,
  entities,
  relationships,
  proceduralMemory,
  agentState,
  kvStore,
  workflowStates,
  sessions,
  artifactContent,
  artifacts,
  eventLog,
  hookHistory,
] as const;

export const catalog: Catalog = createCatalog(kinds);

type Kind = (typeof kinds)[number];

/** The path of a kind of llmspell's records. */
export type SectionName = Kind["path"];

type FieldValue<F extends Field> =
  | FieldValues[F["type"]]
  | (F extends { readonly nullable: true } ? (F["type"] extends "json" ? undefined : null) : never);

type KindAt<Section, K = Kind> = K extends Kind ? (Section extends K["path"] ? K : never) : never;

/** A record of a section as plugins see it. */
export type SectionRecord<Section extends SectionName> = {
  [F in KindAt<Section>["fields"][number] as F["name"]]: FieldValue<F>;
};

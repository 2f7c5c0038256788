/** The names by which the configuration and the bare words know backends. */

/** A backend that can be configured. */
export type ConfiguredName = "sqlite" | "postgresql";

/** The bare words that mean a store as configured, for messages. */
export const BACKEND_NAMES = ["sqlite", "postgres"] as const;

/** The backend where nothing chooses one. */
export const DEFAULT_BACKEND = { name: "sqlite", reason: "neither DATABASE_URL nor [storage] backend is set" } as const;

/** The backend that a name stands for; `postgres` and `postgresql` are synonyms, in any case. Undefined for any other name. */
export function parseBackendName(name: string): ConfiguredName | undefined {
  const lower = name.toLowerCase();
  if (lower === "sqlite") return "sqlite";
  return lower === "postgres" || lower === "postgresql" ? "postgresql" : undefined;
}

/** For messages. */
export const BACKEND_NAMES_HINT = "The backends are sqlite and postgres (or postgresql).";

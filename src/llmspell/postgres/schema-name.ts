/** The schema that all of llmspell's tables live in. */
export const SCHEMA = "llmspell";

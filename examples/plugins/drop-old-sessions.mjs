// A plugin: sessions that nobody has touched for a while are left out, and with them (--cascade, the default) their artifacts
// and the content that no other artifact needs.
// llmspell storage export --backend postgres --output recent.json --plugin './drop-old-sessions.mjs:{"before":"2025-01-01"}'
import { defineTransform } from "llmspell-storage";
import { z } from "zod";

export default defineTransform({
  name: "drop old sessions",
  sections: ["sessions"],
  options: z.strictObject({
    before: z.iso.date().transform((day) => BigInt(Date.parse(day)) * 1000n),
  }),
  transform(session, { options }) {
    const { last_accessed_at: time } = session;
    // Times are microseconds since 1970, or "infinity" or "-infinity".
    const isOld = time === "-infinity" || (time !== "infinity" && time < options.before);
    return isOld ? null : session;
  },
});

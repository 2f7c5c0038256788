/**
 * llmspell's sessions with PostgreSQL, and what is done in them: steps, each of which gives what an application sees, in a form
 * that is the same in every database; an error gives its SQLSTATE.
 */
import { createHash } from "node:crypto";
import pg from "pg";

export const TENANT = "tenant-a";
export const MIB = 1048576;
export const DIMENSIONS = [384, 768, 1536, 3072] as const;

export const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
/** The vector with 1 at `place`, as pgvector's text. */
export const axis = (dimension: number, place: number): string =>
  `[${Array.from({ length: dimension }, (_, at) => (at === place ? 1 : 0)).join(",")}]`;
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

type Values = readonly unknown[];

/** One of llmspell's pooled sessions: its role, and the tenant that it sets on every session before it uses it. */
export class LlmspellSession {
  private constructor(private readonly client: pg.Client) {}

  /** @param url a superuser's, who becomes llmspell_app: the role may have a password that nobody here knows */
  static async open(url: string, tenant: string = TENANT): Promise<LlmspellSession> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query("SET SESSION AUTHORIZATION llmspell_app");
    const session = new LlmspellSession(client);
    await session.use(tenant);
    return session;
  }

  async use(tenant: string): Promise<void> {
    await this.client.query("SELECT set_config('app.current_tenant_id', $1, false)", [tenant]);
  }

  async rows(text: string, values: Values = []): Promise<unknown[][]> {
    const { rows } = await this.client.query<unknown[]>({ text, values: [...values], rowMode: "array" });
    return rows;
  }

  async changed(text: string, values: Values = []): Promise<number> {
    return (await this.client.query(text, [...values])).rowCount ?? 0;
  }

  async transaction<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.client.query("BEGIN");
    try {
      const result = await work();
      await this.client.query("COMMIT");
      return result;
    } catch (error) {
      await this.client.query("ROLLBACK");
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.client.end();
  }
}

export type Step = readonly [name: string, run: (session: LlmspellSession) => Promise<unknown>];

/** The steps' outcomes by name, in order. */
export async function perform(session: LlmspellSession, steps: readonly Step[]): Promise<Record<string, unknown>> {
  const outcomes: Record<string, unknown> = {};
  for (const [name, run] of steps) {
    outcomes[name] = await run(session).catch((error: Error & { code?: string }) => {
      if (error.code === undefined) throw error;
      return `error ${error.code}`;
    });
  }
  return outcomes;
}

/** Encryption, against a server of its own with a certificate of its own authority. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { withClient } from "../helpers/content-digest.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { type PostgresCluster, PostgresUnavailable, startPostgresCluster } from "../helpers/postgres-cluster.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";
import { describeWithTools } from "../helpers/system-tools.js";

const RULES = `
local all all trust
hostssl all postgres 127.0.0.1/32 trust
hostnossl all postgres 127.0.0.1/32 trust
hostssl all encrypted 127.0.0.1/32 trust
hostnossl all plain 127.0.0.1/32 trust
hostssl all certified 127.0.0.1/32 cert
host all scram 127.0.0.1/32 scram-sha-256
host all clear 127.0.0.1/32 password
`;

/** An authority, and what it has signed for the server (localhost) and for the role `certified`. */
function makeCertificates(folder: string): void {
  const openssl = (...args: string[]): unknown => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  for (const name of ["root", "other"])
    openssl(
      ..."req -x509 -newkey rsa:2048 -nodes -days 2 -subj".split(" "),
      `/CN=${name}`,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.crt`,
    );
  writeFileSync(join(folder, "names"), "subjectAltName = DNS:localhost\n");
  for (const [file, name] of [
    ["server", "localhost"],
    ["client", "certified"],
  ] as const) {
    openssl(
      ..."req -newkey rsa:2048 -nodes -subj".split(" "),
      `/CN=${name}`,
      "-keyout",
      `${file}.key`,
      "-out",
      `${file}.csr`,
    );
    openssl(
      ..."x509 -req -days 2 -CAcreateserial -extfile names -CA root.crt -CAkey root.key -in".split(" "),
      `${file}.csr`,
      "-out",
      `${file}.crt`,
    );
  }
}

async function statusOf(url: string): Promise<string> {
  try {
    const connection = await connectPostgres({ url }, { connectionTimeoutSeconds: 20 });
    try {
      const { rows } = await connection.query<{ ssl: boolean }>(
        "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
      );
      return rows[0]?.ssl === true ? "encrypted" : "plain";
    } finally {
      await connection.close();
    }
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describePostgres("encryption", () => {
  describeWithTools(["openssl"], "of a connection to a server that has it", () => {
    let workspace: Workspace;
    let cluster: PostgresCluster | undefined;
    let folder: string;
    let port: string;
    beforeAll(async () => {
      workspace = createWorkspace();
      folder = mkdtempSync(join(tmpdir(), "llmspell-test-tls-"));
      makeCertificates(folder);
      const read = (name: string): string => readFileSync(join(folder, name), "utf8");
      try {
        cluster = await startPostgresCluster({
          settings: "ssl = on\nssl_ca_file = 'root.crt'\n",
          hostBasedAuthentication: RULES,
          files: { "server.crt": read("server.crt"), "server.key": read("server.key"), "root.crt": read("root.crt") },
        });
      } catch (error) {
        if (!(error instanceof PostgresUnavailable) || process.env["CI"] === "true") throw error;
        process.stderr.write(`\u001b[31mSKIPPED: no server of the test's own: ${error.message}\u001b[0m\n`);
        return;
      }
      ({ port } = new URL(cluster.url));
      await withClient(cluster.url, (client) =>
        client.query(`CREATE ROLE encrypted LOGIN; CREATE ROLE plain LOGIN; CREATE ROLE certified LOGIN; CREATE ROLE nobody LOGIN;
          CREATE ROLE scram LOGIN PASSWORD 'pw'; CREATE ROLE clear LOGIN PASSWORD 'pw'`),
      );
    });
    beforeEach((context) => {
      if (cluster === undefined) context.skip();
    });
    afterAll(() => {
      cluster?.stop();
      rmSync(folder, { recursive: true, force: true });
      workspace[Symbol.dispose]();
    });

    const urlOf = (user: string, host: string, parameters: string): string =>
      `postgresql://${user}@${host}:${port}/postgres?${parameters.replaceAll("FOLDER", folder)}`;

    it.each([
      ["", "encrypted"],
      ["sslmode=disable", "plain"],
      ["sslmode=allow", "plain"],
      ["sslmode=prefer", "encrypted"],
      ["sslmode=require", "encrypted"],
      ["sslmode=no-verify", "encrypted"],
      ["sslmode=require&sslrootcert=FOLDER/root.crt", "encrypted"],
      ["sslmode=require&sslrootcert=FOLDER/other.crt", "E_CONNECT"],
      ["sslmode=verify-ca&sslrootcert=FOLDER/root.crt", "encrypted"],
      ["sslmode=verify-ca&sslrootcert=FOLDER/other.crt", "E_CONNECT"],
      ["sslmode=verify-full&sslrootcert=FOLDER/root.crt", "encrypted"],
      ["sslmode=verify-full", "E_CONNECT"],
      ["sslmode=verify-full&sslrootcert=system", "E_CONNECT"],
      ["sslrootcert=system", "E_CONNECT"],
      ["ssl=true", "E_CONNECT"],
      ["sslmode=require&sslrootcert=system", "E_CONFIG"],
      ["sslmode=verify-full&sslrootcert=/nonexistent.crt", "E_CONFIG"],
      ["sslmode=sometimes", "E_CONFIG"],
      ["sslmode=require&ssl_min_protocol_version=TLSv1.3", "encrypted"],
    ])("with %j: %s", async (parameters, expected) => {
      expect(await statusOf(urlOf("postgres", "localhost", parameters))).toBe(expected);
    });

    it("looks at the name of the server with verify-full only", async () => {
      const by = (mode: string): string =>
        urlOf("postgres", "127.0.0.1", `sslmode=${mode}&sslrootcert=FOLDER/root.crt`);
      expect(await statusOf(by("verify-ca"))).toBe("encrypted");
      expect(await statusOf(by("verify-full"))).toBe("E_CONNECT");
    });

    it.each([
      ["encrypted", "", "encrypted"],
      ["encrypted", "sslmode=allow", "encrypted"],
      ["encrypted", "sslmode=disable", "E_AUTHENTICATION"],
      ["plain", "", "plain"],
      ["plain", "sslmode=require", "E_AUTHENTICATION"],
      ["certified", "sslmode=require", "E_AUTHENTICATION"],
      ["certified", "sslmode=require&sslcert=FOLDER/client.crt&sslkey=FOLDER/client.key", "encrypted"],
      ["scram:pw", "sslmode=require&channel_binding=require", "encrypted"],
      ["scram:pw", "sslmode=disable&channel_binding=require", "E_CONNECT"],
      ["clear:pw", "sslmode=require", "encrypted"],
      ["clear:pw", "sslmode=require&channel_binding=require", "E_CONNECT"],
      ["postgres", "sslmode=require&channel_binding=require", "E_CONNECT"],
    ])("of the role %s with %j: %s", async (user, parameters, expected) => {
      expect(await statusOf(urlOf(user, "localhost", parameters))).toBe(expected);
    });

    it("says what is wrong, and what to do", async () => {
      const health = async (user: string, parameters: string, env: Record<string, string> = {}): Promise<string> => {
        const database = urlOf(user, "localhost", parameters);
        return (await workspace.run(["database", "health", "--database", database], { env })).stderr;
      };
      expect(await health("postgres", "", { PGSSLMODE: "require" })).toBe("");
      expect(await health("postgres", "", { PGSSLMODE: "verify-full" })).toMatch(
        /certificate is not trusted.*E_CONNECT[\s\S]*sslrootcert=/,
      );
      expect(await health("postgres", "sslmode=verify-ca")).toMatch(
        /verify-ca needs the authority's certificate[\s\S]*root\.crt does not exist/,
      );
      expect(await health("postgres", "sslrootcert=/nonexistent.crt")).toContain(
        "sslrootcert: /nonexistent.crt cannot be read",
      );
      expect(await health("nobody", "")).toMatch(/no pg_hba\.conf entry[\s\S]*list of allowed addresses/);
      expect(await health("encrypted", "sslmode=disable")).toContain("sslmode=require asks for encryption");
    });

    it("carries an import and an export", async () => {
      const { must, path } = workspace;
      createLlmspellSqlite(path("source.db"));
      fillSqlite(path("source.db"), { records: 30, contentSizes: [0, 300, 3_000_000] });
      const database = urlOf("postgres", "localhost", "sslmode=verify-full&sslrootcert=FOLDER/root.crt");
      await must(["database", "migrate", "--database", database]);
      await must(["storage", "migrate", "--from", path("source.db"), "--to", database, "--quiet"]);
      const contents: unknown[] = [];
      for (const [name, url] of [
        ["tls", database],
        ["plain", urlOf("postgres", "localhost", "sslmode=disable")],
      ] as const) {
        await must(["storage", "export", "--database", url, "--output", path(`${name}.json`), "--quiet"]);
        contents.push(JSON.parse(readFileSync(path(`${name}.json`), "utf8")).data);
      }
      expect(contents[0]).toEqual(contents[1]);
    });
  });
});

describe("a socket", () => {
  it("is never encrypted, whatever is asked for", async () => {
    const { tlsAttempts } = await import("../../src/backends/postgres/session/tls.js");
    expect(tlsAttempts(new Map([["sslmode", "require"]]), "/run/postgresql")).toEqual([false]);
  });
});

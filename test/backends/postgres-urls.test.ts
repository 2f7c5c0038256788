/** URLs, services, password files and hosts as libpq takes them, against a real server. */
import { chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConnectionUrl, resolveConnection } from "../../src/backends/postgres/session/connection-parameters.js";
import { withClient } from "../helpers/content-digest.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, createTestRole, describePostgres, postgresAdminUrl } from "../helpers/postgres-server.js";

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
});
afterAll(() => workspace[Symbol.dispose]());

describe("a URL of libpq's", () => {
  it.each<[string, Record<string, string> | undefined]>([
    ["postgresql://", {}],
    ["postgres://h", { host: "h" }],
    ["postgresql://u:p@h:1/d?x=y", { user: "u", password: "p", host: "h", port: "1", dbname: "d", x: "y" }],
    ["postgresql:///d?host=/run/pg", { dbname: "d", host: "/run/pg" }],
    [
      "postgresql://u:p@/d?host=/cloudsql/project:region:instance",
      { user: "u", password: "p", dbname: "d", host: "/cloudsql/project:region:instance" },
    ],
    ["postgresql://%2Frun%2Fpg/d", { host: "/run/pg", dbname: "d" }],
    ["postgresql://[::1]:5/d", { host: "::1", port: "5", dbname: "d" }],
    ["postgresql://a:1,b:2/d", { host: "a,b", port: "1,2", dbname: "d" }],
    ["postgresql://a,b/d", { host: "a,b", dbname: "d" }],
    ["postgresql://h/a%2Bb%20c%2Fd", { host: "h", dbname: "a+b c/d" }],
    ["postgresql://h/a+b", { host: "h", dbname: "a+b" }],
    ["postgresql://h/d?user=u&password=p%26q+r", { host: "h", dbname: "d", user: "u", password: "p&q+r" }],
    ["postgresql://u:50%@h/d", { user: "u", password: "50%", host: "h", dbname: "d" }],
    ["postgresql://u:p@q@h/d", { user: "u", password: "p@q", host: "h", dbname: "d" }],
    ["postgresql://h/d?a=1&a=2&b", { host: "h", dbname: "d", a: "2" }],
    ["postgresql://h:0/d", undefined],
    ["postgresql://h:65536/d", undefined],
    ["postgresql://h:x/d", undefined],
    ["postgresql://u:p/q@h/d", undefined],
    ["postgresql://h/d e", undefined],
    ["postgresql:/h/d", undefined],
    ["mysql://h/d", undefined],
  ])("%s", (url, parameters) => {
    const parsed = parseConnectionUrl(url);
    expect(parsed === undefined ? undefined : Object.fromEntries(parsed)).toEqual(parameters);
  });

  it.each([
    ["postgresql://h/d?requirepeer=postgres", /requirepeer is not supported/],
    ["postgresql://h/d?gssencmode=require", /gssencmode is not supported/],
    ["postgresql://h/d?hostaddr=10.0.0.1", /hostaddr is not supported/],
    ["postgresql://a:1,b:2,c/d?port=1,2", /3 hosts and 2 ports/],
    ["postgresql://h/d?target_session_attrs=master", /target_session_attrs/],
    ["postgresql://h/d?service=nowhere", /no PostgreSQL service "nowhere"/],
  ])("%s is E_CONFIG", (url, message) => {
    const resolve = (): unknown => resolveConnection(url, { PGSERVICEFILE: "/nonexistent" });
    expect(resolve).toThrowError(
      expect.objectContaining({ code: "E_CONFIG", message: expect.stringMatching(message) }),
    );
  });

  it("is stronger than its service, and that than the environment", () => {
    const file = workspace.path("services.conf");
    writeFileSync(
      file,
      "# ours\n[other]\nhost=wrong\n[mine]\nhost=service.example\nport = 6000\ndbname=s\n[last]\nhost=wrong\n",
    );
    const environment = { PGSERVICEFILE: file, PGSERVICE: "mine", PGPORT: "7000", PGUSER: "env", PGDATABASE: "env" };
    const { all, ...resolved } = resolveConnection("postgresql:///given", environment);
    expect(resolved).toEqual({
      hosts: [{ host: "service.example", port: 6000 }],
      user: "env",
      database: "given",
      sessionAttributes: "any",
    });
    expect(resolveConnection("postgresql://?service=last", environment).hosts).toEqual([{ host: "wrong", port: 7000 }]);
  });
});

describePostgres("connecting", () => {
  const server = new URL(postgresAdminUrl());
  const health = (database: string, env: Record<string, string> = {}) =>
    workspace.run(["database", "health", "--database", database], { env });

  it("takes a socket's folder, in each form", async () => {
    await using database = await createTestDatabase();
    const [{ folder }] = await withClient(
      database.url,
      async (client) =>
        (await client.query("SELECT split_part(current_setting('unix_socket_directories'), ',', 1) AS folder")).rows,
    );
    for (const url of [
      `postgresql://postgres@/${database.name}?host=${folder}&port=${server.port}`,
      `postgresql://postgres@${encodeURIComponent(folder)}:${server.port}/${database.name}`,
      `postgresql:///${database.name}?host=${folder}&port=${server.port}&user=postgres`,
    ])
      expect(await health(url)).toMatchObject({ status: 0, stdout: expect.stringContaining("Role: postgres") });
  });

  it("takes a database of any name, from a URL and from config.toml", async () => {
    const name = `test_a+b %2F'"/é ${process.pid}`;
    const quoted = `"${name.replaceAll('"', '""')}"`;
    await withClient(postgresAdminUrl(), (client) => client.query(`CREATE DATABASE ${quoted} TEMPLATE template0`));
    try {
      const url = `postgresql://postgres@${server.host}/${encodeURIComponent(name)}`;
      expect(await health(url)).toMatchObject({ status: 0 });
      writeFileSync(
        workspace.path("named.toml"),
        `[storage.postgresql]\nhost = "${server.hostname}"\nport = ${server.port}\nusername = "postgres"\ndatabase = ${JSON.stringify(name)}\n`,
      );
      const configured = await workspace.run(["database", "health", "--backend", "postgres"], {
        env: { LLMSPELL_CONFIG: workspace.path("named.toml") },
      });
      expect(configured).toMatchObject({ status: 0 });
    } finally {
      await withClient(postgresAdminUrl(), (client) => client.query(`DROP DATABASE ${quoted} WITH (FORCE)`));
    }
  });

  it("takes the first host that answers and is as it is asked for", async () => {
    await using database = await createTestDatabase();
    const closed = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => closed.once("listening", resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    const hosts = `127.0.0.1:${port},${server.host}`;
    const url = (attributes: string): string => `postgresql://postgres@${hosts}/${database.name}?${attributes}`;
    for (const attributes of ["", "target_session_attrs=primary", "target_session_attrs=prefer-standby"])
      expect(await health(url(attributes))).toMatchObject({ status: 0 });
    for (const wanted of ["standby", "read-only"]) {
      const refused = await health(url(`target_session_attrs=${wanted}`));
      expect(refused).toMatchObject({ status: 3, stderr: expect.stringContaining(`no host of the URL is ${wanted}`) });
    }
  });

  it("takes a service's database", async () => {
    await using database = await createTestDatabase();
    const file = workspace.path("service.conf");
    writeFileSync(
      file,
      `[prod]\nhost=${server.hostname}\nport=${server.port}\nuser=postgres\ndbname=${database.name}\n`,
    );
    const env = { PGSERVICEFILE: file };
    expect(await health("postgresql://?service=prod", env)).toMatchObject({ status: 0 });
    expect(await health("postgresql://", { ...env, PGSERVICE: "prod" })).toMatchObject({ status: 0 });
    expect(await health("postgresql://?service=none", env)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("[E_CONFIG]"),
    });
  });

  it("takes the password of a password file, and says nothing of it", async () => {
    await using database = await createTestDatabase();
    const password = "s3:c\\ret";
    await using role = await createTestRole(database, { password });
    const url = new URL(role.url);
    url.password = "";
    const file = workspace.path("pass");
    const other = `other:1:*:*:wrong\n# ${url.hostname}:*:*:${role.name}:commented\n${url.hostname}:${url.port}:nosuch:*:wrong\n`;
    writeFileSync(file, `${other}${url.hostname}:*:${database.name}:${role.name}:s3\\:c\\\\ret\n*:*:*:*:wrong\n`);
    chmodSync(file, 0o600);
    const env = { PGPASSFILE: file };
    expect(await health(url.href, env)).toMatchObject({ status: 0, stderr: "" });
    const json = await workspace.run(["storage", "info", "--database", url.href, "--log-format", "json"], { env });
    for (const line of json.stderr.trim().split("\n")) if (line !== "") JSON.parse(line);

    chmodSync(file, 0o644);
    const open = await health(url.href, env);
    expect(open).toMatchObject({ status: 3, stderr: expect.stringContaining("[E_AUTHENTICATION]") });
    expect(open.stderr).toContain(`chmod 0600 ${file}`);
    expect(await health(url.href, { ...env, PGPASSWORD: password })).toMatchObject({ status: 0, stderr: "" });
    const wrong = await health(url.href, { PGPASSWORD: "wr0ng" });
    expect(wrong).toMatchObject({ status: 3, stderr: expect.stringContaining("[E_AUTHENTICATION]") });
    expect(wrong.stderr + wrong.stdout).not.toContain("wr0ng");
  });
});

import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import type { Config } from "../../src/config/index.js";
import { StorageError } from "../../src/errors.js";
import { redact, redactUnknown } from "../../src/redaction.js";
import { chooseStore, parseStore, type StoreLocation, sameStore, storeName } from "../../src/stores/index.js";
import { createWorkspace } from "../helpers/llmspell.js";

const config: Config = {
  backend: undefined,
  sqlite: { path: "/default.db", because: "a test", vectors: "blob" },
  postgresql: { url: "postgresql://u:secret@h/d", because: "a test", connectionTimeoutSeconds: 30 },
  warnings: [],
  announcements: [],
};

describe("a STORE", () => {
  it.each<[string, StoreLocation]>([
    ["postgresql://u:p@h:1/d", { type: "postgres", url: "postgresql://u:p@h:1/d" }],
    ["postgres://h/d", { type: "postgres", url: "postgres://h/d" }],
    ["pglite:some/dir", { type: "pglite", directory: resolve("some/dir") }],
    ["pglite:~/dir", { type: "pglite", directory: join(homedir(), "dir") }],
    ["sqlite:odd name", { type: "sqlite", path: resolve("odd name") }],
    ["~/a.db", { type: "sqlite", path: join(homedir(), "a.db") }],
    ["a.sqlite", { type: "sqlite", path: resolve("a.sqlite") }],
    ["a.SQLITE3", { type: "sqlite", path: resolve("a.SQLITE3") }],
    ["b.json", { type: "document", path: resolve("b.json") }],
    ["b.json.gz", { type: "document", path: resolve("b.json.gz") }],
    ["~/b.json.zst", { type: "document", path: join(homedir(), "b.json.zst") }],
    ["-", { type: "document", path: "-" }],
    ["sqlite", { type: "sqlite", path: "/default.db" }],
    ["postgres", { type: "postgres", url: "postgresql://u:secret@h/d" }],
    ["postgresql", { type: "postgres", url: "postgresql://u:secret@h/d" }],
  ])("%s", (text, location) => {
    expect(parseStore(text, () => config)).toEqual(location);
  });

  it.each([
    "",
    "data",
    "data.txt",
    "mysql://u:secret@h/a.db",
    "postgresql://u:sec#ret@h:x/d",
    "postgresql://u:p@secret/w@h/d",
    "postgresql://u:123/secret@h/d",
    "postgresql://u:123?secret@h/d",
    "postgresql://u:123#secret@h/d",
    "postgresql://u:a secret@h/d",
    "POSTGRESQL://u:secret@h/d",
    "host=h password=secret dbname=d",
    "host=h password = 'a \\'secret' dbname=d",
    "u:secret@host/db",
    "u:secret@host",
    "u:se cret secret@host",
    "u:p@secret/w@host/db",
    "u:p://secret@host/db",
    "postgers://u:secret@host/db",
    "postgers://u:a secret@host/db",
    "postgers://u@x:secret@host/db",
    "postgers://u:secret/host/db",
    "postgers:/u:secret@host/db",
    "postgers:u:secret@host/db",
    "postgres//u:secret@host/db",
    " postgers://u:secret@host/db",
    "jdbc:postgresql://host/db?user=u&password=secret",
    "jdbc:postgresql://u:secret@host/db",
    "Host=h;Username=u;Password=secret;Database=d",
    "Server=h;Uid=u;Pwd=secret",
    "PGPASSWORD=secret",
    'PGPASSWORD="a secret"',
    "localhost:5432:db:u:secret",
    "localhost:5432:*:u:a:secret",
    "*:*:*:u:secret",
    "pglite:",
    "sqlite:",
    "file.gz",
  ])("%j is none", (text) => {
    expect(() => parseStore(text, () => config)).toThrowError(expect.objectContaining({ code: "E_USAGE" }));
    try {
      parseStore(text, () => config);
    } catch (error) {
      expect((error as Error).message).not.toContain("secret");
    }
  });

  it("has a name without its password", () => {
    expect(storeName(parseStore("postgres", () => config))).toBe("postgresql://u@h/d");
  });

  it("is recognised when it is named twice", () => {
    const at = (text: string): StoreLocation => parseStore(text, () => config);
    expect(sameStore(at("a.db"), at("sqlite:./a.db"))).toBe(true);
    expect(sameStore(at("a.db"), at("b.db"))).toBe(false);
    expect(sameStore(at("-"), at("-"))).toBe(false);
    expect(sameStore(at("package.json"), at("sqlite:package.json"))).toBe(true);
  });
});

describe("the choice of a store", () => {
  it("takes --database before everything, and says why it took another", () => {
    const chosen = { ...config, backend: { name: "postgresql", reason: "DATABASE_URL is set" } } as const;
    expect(chooseStore({ database: "x.db" }, chosen)).toEqual({
      location: { type: "sqlite", path: resolve("x.db") },
      chosenBecause: undefined,
    });
    expect(chooseStore({ backend: "sqlite" }, chosen).location).toEqual({ type: "sqlite", path: "/default.db" });
    expect(chooseStore({}, chosen)).toMatchObject({
      location: { type: "postgres" },
      chosenBecause: "DATABASE_URL is set",
    });
    expect(chooseStore({}, config)).toMatchObject({
      location: { type: "sqlite" },
      chosenBecause: expect.stringMatching(/^neither/),
    });
  });

  it.each([
    [{ backend: "mysql" }, "E_USAGE"],
    [{ backend: "postgres", database: "x.db" }, "E_USAGE"],
    [{ database: "x.json" }, "E_USAGE"],
  ])("refuses %j", (flags, code) => {
    expect(() => chooseStore(flags, config)).toThrowError(expect.objectContaining({ code }));
  });

  it("says what to set when no server is configured", () => {
    const none = { ...config, postgresql: { ...config.postgresql, url: undefined } };
    try {
      chooseStore({ backend: "postgres" }, none);
      expect.unreachable();
    } catch (error) {
      expect((error as StorageError).code).toBe("E_CONFIG");
      expect((error as StorageError).context.hint).toContain("DATABASE_URL");
    }
    expect(() =>
      chooseStore({ backend: "postgres" }, { ...config, postgresql: { ...config.postgresql, url: "mysql://h" } }),
    ).toThrow(StorageError);
  });
});

describe("a URL that is given for something else", () => {
  it.each([
    [["storage", "import", "--database", "z.db", "--input"], "u:secret@host"],
    [["storage", "import", "--database", "z.db", "--input"], "postgres://u:a@b secret@host/db"],
    [["storage", "export", "--database", "z.db", "--output"], "postgres://u:my secret@host/db"],
    [["storage", "export", "--database", "z.db", "--output"], "u:a@b secret@host/db"],
    [["database", "health", "--backend"], "h:5432:db:u:secret"],
    [["database", "health", "--databse"], "postgers://u:my secret@host/db"],
  ])("%j %s: nothing shows its password", async (words, text) => {
    using workspace = createWorkspace();
    const { status, stdout, stderr } = await workspace.run([...words, text]);
    expect(status).not.toBe(0);
    expect(stdout + stderr).not.toContain("secret");
    expect(stderr).toContain("Error: ");
  });

  it("a name of a file with both characters is shown as it is", () => {
    for (const name of ["/home/a@b/x:y.json", "node_modules/@x/a.json", "2026-11-28T10:05:11.json"])
      expect(redactUnknown(name)).toBe(name);
  });
});

describe("redaction", () => {
  it.each([
    ["postgresql://user:secret@host/db", "postgresql://user@host/db"],
    [
      "at postgres://user:se@cr/et:x@host:1/db, twice postgres://u:secret@h",
      "at postgres://user@host:1/db, twice postgres://u@h",
    ],
    ["postgresql://:secret@host", "postgresql://@host"],
    ["postgresql://host/db?user=u&password=secret&x=1", "postgresql://host/db?user=u&password=***&x=1"],
    ["nothing: here@all", "nothing: here@all"],
    ["the other record is acme:jo@mail.org, key=k", "the other record is acme:jo@mail.org, key=k"],
    ["no such file: /home/u:secret@host/db", "no such file: /home/u@host/db"],
    ["stat '/home/u:secret@host'", "stat '/home/u@host'"],
    ["unknown option '--databse=postgers://u:my secret@host/db'", "unknown option '--databse=postgers://u@host/db'"],
    ["postgres://u@x:secret@host", "postgres://u@x@host"],
    ["see https://host:5432/x or mail a@b", "see https://host:5432/x or mail a@b"],
    ["postgres://a:secret@b\npostgres://c:secret@d", "postgres://a@b\npostgres://c@d"],
    ["LLMSPELL_APP_PASSWORD='a \\' secret' x", "LLMSPELL_APP_PASSWORD=*** x"],
    ["https://host:8080/path", "https://host:8080/path"],
  ])("%s", (text, shown) => {
    expect(redact(text)).toBe(shown);
  });

  it.each(["a-", "a://b:c ", "a:b ", "password='", 'password="\\', "pwd=", "x@", ":", "a://", "://@\n", " "])(
    "of a million times %j does not take its square",
    (piece) => {
      // The square would take hours.
      const long = piece.repeat(1_000_000);
      for (const text of [long, `${long}@h`, `${long}\n@h`, `a://b:${long}`])
        for (const show of [redact, redactUnknown]) expect(show(text).length).toBeLessThanOrEqual(text.length + 3);
    },
  );
});

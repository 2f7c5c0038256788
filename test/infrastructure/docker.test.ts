/** The Dockerfile and the compose files: the rules that hadolint has, as no engine runs everywhere. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Copy, DockerfileParser, type Entrypoint, type From, type Instruction } from "dockerfile-ast";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (name: string): string => readFileSync(join(root, name), "utf8");

/** What is wrong with a Dockerfile, a line each. */
function faultsOf(text: string): string[] {
  const faults: string[] = [];
  const dockerfile = DockerfileParser.parse(text);
  const instructions = dockerfile.getInstructions();
  const named = (keyword: string): Instruction[] => instructions.filter((one) => one.getKeyword() === keyword);
  const stages = new Set<string>();
  for (const from of dockerfile.getFROMs() as From[]) {
    const image = from.getImage() ?? "";
    const pinned = /:[\w.-]*\d+\.\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$/.test(image);
    if (!stages.has(image) && !pinned) faults.push(`the base ${image} is not pinned`);
    const stage = from.getBuildStage();
    if (stage !== null) stages.add(stage);
  }
  if (named("FROM").length < 2) faults.push("there is one stage only");
  if (named("ADD").length > 0) faults.push("ADD fetches and unpacks: COPY");
  for (const one of named("RUN")) {
    const run = one.getArgumentsContent() ?? "";
    if (/\bsudo\b/.test(run)) faults.push("sudo");
    if (/\bcd\b/.test(run)) faults.push("cd: WORKDIR");
    if (/(curl|wget)\b.*\|/.test(run)) faults.push("what is fetched goes to a shell");
    if (/apt-get install/.test(run) && !/-y/.test(run)) faults.push("apt-get asks");
    if (/apt-get install/.test(run) && !/--no-install-recommends/.test(run))
      faults.push("apt-get installs recommendations");
    if (/apt-get/.test(run) && !/rm -rf \/var\/lib\/apt\/lists/.test(run)) faults.push("apt's lists stay");
    if (/\bapt (install|update)/.test(run)) faults.push("apt is for people: apt-get");
  }
  // Of the last stage.
  const last = instructions.slice(instructions.findLastIndex((one) => one.getKeyword() === "FROM"));
  const users = last.filter((one) => one.getKeyword() === "USER");
  const user = users.at(-1)?.getArgumentsContent() ?? "root";
  if (/^(root|0)(:|$)/.test(user)) faults.push("it runs as root");
  for (const copy of last.filter((one) => one.getKeyword() === "COPY") as Copy[])
    if (!copy.getFlags().some((flag) => flag.getName() === "chown")) faults.push("COPY without --chown");
  for (const keyword of ["ENTRYPOINT", "CMD"]) {
    const ones = last.filter((one) => one.getKeyword() === keyword) as Entrypoint[];
    if (ones.length > 1) faults.push(`several ${keyword}`);
    for (const one of ones)
      if (one.getOpeningBracket() === null || one.getClosingBracket() === null)
        faults.push(`${keyword} in a shell's form`);
  }
  if (last.every((one) => one.getKeyword() !== "ENTRYPOINT")) faults.push("no ENTRYPOINT");
  for (const one of named("WORKDIR"))
    if (!(one.getArgumentsContent() ?? "").startsWith("/")) faults.push("WORKDIR is relative");
  for (const one of named("ENV"))
    if (/password|secret|token/i.test(one.getArgumentsContent() ?? "")) faults.push("a secret in ENV");
  return faults;
}

describe("the Dockerfile", () => {
  it("has no fault", () => {
    expect(faultsOf(read("docker/Dockerfile"))).toEqual([]);
  });

  it("is measured by rules that find something", () => {
    const bad = `FROM node:latest
ADD https://example.com/x.tgz /x
RUN apt-get update && apt-get install curl
COPY . app
WORKDIR app
ENV DB_PASSWORD=x
ENTRYPOINT llmspell
`;
    expect(faultsOf(bad)).toEqual([
      "the base node:latest is not pinned",
      "there is one stage only",
      "ADD fetches and unpacks: COPY",
      "apt-get asks",
      "apt-get installs recommendations",
      "apt's lists stay",
      "it runs as root",
      "COPY without --chown",
      "ENTRYPOINT in a shell's form",
      "WORKDIR is relative",
      "a secret in ENV",
    ]);
  });

  it("runs the Node that the tests run", () => {
    const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, { version: string }> };
    const images = DockerfileParser.parse(read("docker/Dockerfile")).getFROMs() as From[];
    for (const image of images)
      expect(image.getImage()).toBe(`node:${packages["node_modules/node"]?.version}-bookworm-slim`);
  });

  it("gets all that the package is made of, and nothing else of the folder", () => {
    const sent = read(".dockerignore")
      .split("\n")
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1));
    const { files } = JSON.parse(read("package.json")) as { files: string[] };
    expect(sent).toEqual(expect.arrayContaining(files.filter((name) => !["dist", "man"].includes(name))));
    for (const name of sent) expect(existsSync(join(root, name))).toBe(true);
    expect(sent).not.toContain("node_modules");
  });
});

describe("the compose file of backups", () => {
  const file = "docker/backup/docker-compose.yml";
  const { services, secrets, volumes } = parse(read(file)) as {
    // biome-ignore lint/suspicious/noExplicitAny: YAML
    services: Record<string, any>;
    secrets: Record<string, unknown>;
    volumes: Record<string, unknown>;
  };

  it("names files that are there", () => {
    const { build, entrypoint } = services["backup"];
    const context = resolve(join(root, dirname(file)), build.context);
    expect(`${context}/`).toBe(root);
    expect(existsSync(join(context, build.dockerfile))).toBe(true);
    const script = entrypoint.at(-1).replace("/app/node_modules/llmspell-storage/", "");
    expect(existsSync(join(root, script))).toBe(true);
  });

  it("gives the container no more than it needs, and no password in its environment", () => {
    const { backup } = services;
    expect(backup).toMatchObject({ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] });
    expect(backup.privileged).toBeUndefined();
    expect(backup.ports).toBeUndefined();
    expect(JSON.stringify(backup.environment)).not.toMatch(/:\/\/[^@?"]*:[^@?"]*@|PGPASSWORD/);
    expect(backup.secrets).toEqual(Object.keys(secrets));
    expect(backup.volumes.map((volume: string) => volume.split(":")[0])).toEqual(Object.keys(volumes));
  });
});

describe("the compose file of workers", () => {
  const file = "docker/worker/docker-compose.yml";
  const { services, configs, secrets } = parse(read(file)) as {
    // biome-ignore lint/suspicious/noExplicitAny: YAML
    services: Record<string, any>;
    configs: Record<string, { file?: string }>;
    secrets: Record<string, { file?: string }>;
  };
  const { worker } = services;

  it("names files that are there, and puts none into the read-only container that compose would have to copy", () => {
    const context = resolve(join(root, dirname(file)), worker.build.context);
    expect(existsSync(join(context, worker.build.dockerfile))).toBe(true);
    expect(worker).toMatchObject({ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] });
    for (const { source } of worker.configs)
      expect(existsSync(join(root, dirname(file), configs[source]?.file ?? "none"))).toBe(true);
    for (const name of worker.secrets) expect(secrets[name]?.file).toBeDefined();
  });

  it("has no password in its environment, and all that its stores ask the environment for", () => {
    expect(JSON.stringify(worker.environment)).not.toMatch(/:\/\/[^@?"]*:[^@?"]*@|PGPASSWORD/);
    const stores = read(join(dirname(file), configs["stores"]?.file ?? "none"));
    const asked = [...stores.matchAll(/url_env = "(\w+)"/g)].map(([, name]) => name);
    expect(asked).toHaveLength(2);
    for (const name of asked) expect(Object.keys(worker.environment)).toContain(name);
    expect(worker.environment.LLMSPELL_CONFIG).toBe(worker.configs[0].target);
  });
});

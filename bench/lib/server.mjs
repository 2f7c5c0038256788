// The throwaway PostgreSQL server of the tests, with settings for bulk work; the same for us and for every peer.
import { delimiter, join } from "node:path";
import pg from "pg";
import "../../scripts/from-source.mjs";
import { must } from "./measure.mjs";

const { startPostgresCluster } = await import("../../test/helpers/postgres-cluster.ts");

const SETTINGS = {
  shared_buffers: "1GB",
  work_mem: "64MB",
  maintenance_work_mem: "1GB",
  max_wal_size: "8GB",
  checkpoint_timeout: "1h",
  max_parallel_maintenance_workers: "2",
  autovacuum: "off",
};

export class Server {
  static async start() {
    const cluster = await startPostgresCluster();
    const server = new Server(cluster);
    try {
      await server.set(SETTINGS);
      await server.restart();
      // Debian's psql is a script that looks for the right version each time: PostgreSQL's own programs come first.
      process.env.PATH = `${await server.programs()}${delimiter}${process.env.PATH}`;
      return server;
    } catch (error) {
      cluster.stop();
      throw error;
    }
  }

  constructor(cluster) {
    this.cluster = cluster;
    this.stop = () => cluster.stop();
  }

  /** Settings of the server; those of its start take effect with the next. */
  async set(settings) {
    for (const [name, value] of Object.entries(settings)) await this.sql(`ALTER SYSTEM SET ${name} = '${value}'`);
    await this.sql("SELECT pg_reload_conf()");
  }

  async reset(names) {
    for (const name of names) await this.sql(`ALTER SYSTEM RESET ${name}`);
    await this.sql("SELECT pg_reload_conf()");
  }

  /** The server's own log. */
  async log() {
    const { data_directory: data } = (await this.sql("SHOW data_directory")).rows[0];
    return join(data, "..", "server.log");
  }

  /** The settings that matter, for RESULTS.md. */
  async describe() {
    const names = [...Object.keys(SETTINGS), "fsync", "synchronous_commit", "full_page_writes", "wal_level", "jit"];
    const { rows } = await this.sql(
      `SELECT name, current_setting(name) AS value FROM pg_settings WHERE name = ANY ('{${names}}') ORDER BY name`,
    );
    const { server_version: version } = (await this.sql("SHOW server_version")).rows[0];
    return `PostgreSQL ${version} on the same machine: ${rows.map(({ name, value }) => `${name} = ${value}`).join(", ")}`;
  }

  /** The folder of the server's programs. */
  async programs() {
    const { rows } = await this.sql("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
    return rows[0].setting;
  }

  url(name) {
    const url = new URL(this.cluster.url);
    url.pathname = `/${name}`;
    return url.href;
  }

  /** Runs SQL in the database `name`; the result of its last statement. */
  async sql(text, name = "postgres") {
    const client = new pg.Client({ connectionString: this.url(name) });
    await client.connect();
    try {
      const result = await client.query(text);
      return Array.isArray(result) ? result.at(-1) : result;
    } finally {
      await client.end();
    }
  }

  /** Makes `name` as a copy of `template`, replacing it, and leaves nothing for the next checkpoint to do. */
  async create(name, template = "template0") {
    await this.drop(name);
    const encoding = template === "template0" ? " ENCODING 'UTF8'" : " STRATEGY file_copy";
    await this.sql(`CREATE DATABASE ${name} TEMPLATE ${template}${encoding}`);
    await this.sql("CHECKPOINT");
  }

  async drop(name) {
    await this.sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  }

  /** shared_buffers need it. The server keeps its port. */
  async restart() {
    const { data_directory: data } = (await this.sql("SHOW data_directory")).rows[0];
    const command = [
      `${await this.programs()}/pg_ctl`,
      "restart",
      "-D",
      data,
      "-w",
      "-m",
      "fast",
      "-l",
      await this.log(),
    ];
    const user = process.getuid?.() === 0 ? ["runuser", "-u", "postgres", "--"] : [];
    // pg_ctl's children inherit its output, so it must not be a pipe.
    must([...user, ...command], { cwd: "/", stdio: ["ignore", "ignore", "ignore"] });
  }
}

/** Options of runs whose parts workers load (docs/scale.md). */
import { InvalidArgumentError, Option } from "commander";

const wholeNumber = (least: number) => (text: string) => {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (value >= least) return value;
  throw new InvalidArgumentError(`It is a whole number from ${least} on.`);
};

/** Of a run's coordinator. */
export const queueOptions = (): Option[] => [
  new Option(
    "--queue <URL>",
    "let workers (`storage worker`) load the parts: the PostgreSQL that has the queue; --from and --to are names of their configuration",
  ),
  new Option(
    "--worker-timeout <SECONDS>",
    "a worker that is not heard of for so long is dead, and others take its parts (default: 10, the least)",
  ).argParser(wholeNumber(10)),
];

/** Of `storage worker`. */
export const workerOptions = (): Option[] => [
  new Option("--queue <URL>", "the PostgreSQL that has the queue").makeOptionMandatory(),
  new Option("--jobs <N>", "so many parts at a time; default: 1").argParser(wholeNumber(1)),
];

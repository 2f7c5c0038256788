// What a case found: tables of contenders, and targets that were met or missed.

/** A Markdown table. */
export function table(headings, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(headings), line(headings.map(() => "---")), ...rows.map(line)].join("\n");
}

export const TARGET_HEADINGS = ["path", "peer", "target", "measured", "result"];

export class Report {
  constructor(title) {
    this.title = title;
    this.parts = [];
    this.targets = [];
  }

  /** A paragraph. */
  say(text) {
    this.parts.push(text);
  }

  /** The contenders of one interleaved run. */
  contenders(heading, results) {
    const rows = [...results].map(([name, { seconds, cpu, megabytes, bytes, trials }]) => [
      name,
      seconds.toFixed(2),
      cpu.toFixed(2),
      megabytes.toFixed(0),
      bytes === undefined ? "" : (bytes / 1e6).toFixed(1),
      trials,
    ]);
    this.parts.push(
      `### ${heading}\n\n${table(["run", "wall s", "CPU s", "peak RSS MB", "output MB", "trials"], rows)}`,
    );
  }

  /** Peer time / our time, at least `target`; without a target the ratio is only told. */
  ratio(path, peer, results, ours, theirs, target) {
    const [mine, other] = [results.get(ours), results.get(theirs)];
    if (mine === undefined || other === undefined) return this.unavailable(path, peer, target);
    const ratio = other.seconds / mine.seconds;
    const trials = Math.min(mine.trials, other.trials);
    const note = trials < 5 ? ` (${trials} ${trials === 1 ? "trial" : "trials"})` : "";
    const measured = `${ratio.toFixed(2)}${note}; CPU ${(other.cpu / mine.cpu).toFixed(2)}`;
    this.add(path, peer, target === undefined ? "none" : `>= ${target}`, measured, target && ratio >= target);
  }

  /** A figure that is to be at most `target`. */
  atMost(path, peer, figure, target, unit, digits = 0) {
    this.add(path, peer, `<= ${target} ${unit}`, `${figure.toFixed(digits)} ${unit}`, figure <= target);
  }

  rss(path, results, ours, target = 150) {
    this.atMost(path, "peak RSS", results.get(ours).megabytes, target, "MB");
  }

  unavailable(path, peer, target) {
    this.targets.push([path, peer, target === undefined ? "none" : `>= ${target}`, "", "not available"]);
  }

  /** `met`: undefined where there is no target. */
  add(path, peer, target, measured, met) {
    this.targets.push([path, peer, target, measured, met === undefined ? "info" : met ? "pass" : "**miss**"]);
  }

  text() {
    const targets = this.targets.length === 0 ? [] : [table(TARGET_HEADINGS, this.targets)];
    return [`## ${this.title}`, ...this.parts, ...targets].join("\n\n");
  }
}

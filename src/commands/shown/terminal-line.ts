/** The last line of a terminal, which changes in place. Whatever is written between clears it, and it comes again below. */

/** How often it is drawn. */
const DRAW_MILLISECONDS = 200;

const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const CLEAR_TO_END = "\u001b[K";

export class TerminalLine {
  private timer: NodeJS.Timeout | undefined;

  /** `text`: what the line is now, no wider than the terminal. */
  constructor(
    private readonly stream: NodeJS.WriteStream,
    private readonly text: () => string,
  ) {}

  get isShown(): boolean {
    return this.timer !== undefined;
  }

  start(): void {
    if (this.isShown) return;
    this.timer = setInterval(() => this.draw(), DRAW_MILLISECONDS);
    this.timer.unref();
    this.stream.write(HIDE_CURSOR);
    this.draw();
  }

  /** Leaves an empty line. Repeatable. */
  stop(): void {
    if (!this.isShown) return;
    clearInterval(this.timer);
    this.timer = undefined;
    this.stream.write(`\r${CLEAR_TO_END}${SHOW_CURSOR}`);
  }

  private draw(): void {
    this.stream.write(`\r${this.text()}${CLEAR_TO_END}`);
  }
}

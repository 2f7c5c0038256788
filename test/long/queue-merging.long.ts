/** What dies at random moments of a run that two workers load and their coordinator merges into tables with rows. QUEUE_FAULTS=100: a hundred of each. */
import { describeDeaths } from "./queue-deaths.js";

describeDeaths("a run that two workers load into tables with rows, of which something dies", {
  series: "queue, merging",
  merging: true,
});

/** What dies at random moments of a run that two workers load into empty tables. QUEUE_FAULTS=100: a hundred of each. */
import { describeDeaths } from "./queue-deaths.js";

describeDeaths("a run that two workers load, of which something dies", { series: "queue", merging: false });

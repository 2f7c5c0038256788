/** How much is taken out in one transaction. */

/** Parts of one transaction: each is a pass over the table. */
export const BATCH = 500;
/** Large objects of one transaction: each takes a lock. */
export const LARGE_OBJECTS = 500;

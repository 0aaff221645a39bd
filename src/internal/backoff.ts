import * as Schedule from "effect/Schedule"

/**
 * The pause between attempts of everything that must go on: exponential from `first`, capped, jittered by ±20 %, so that a
 * store that comes back is not met by all its clients at once.
 */
export const backoff = (firstMillis: number, mostMillis: number): Schedule.Schedule<unknown> =>
  Schedule.min([Schedule.exponential(firstMillis), Schedule.spaced(mostMillis)]).pipe(Schedule.jittered)

/** Nothing was heard in time, which is not the same as a refusal: what does not answer may never do so again. */
export class OutOfTime extends Error {
  override readonly name = "OutOfTime"
}

export const isOutOfTime = (cause: unknown): boolean => cause instanceof OutOfTime

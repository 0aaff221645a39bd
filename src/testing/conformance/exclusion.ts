import type { Case } from "./harness.ts"

export const cases: ReadonlyArray<Case> = []

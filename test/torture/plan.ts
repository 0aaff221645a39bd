/** What is done to whom, and when: made from a seed alone, so that the same seed gives the same plan. */
import { seeded } from "../../src/engines/memory/random.ts"

export const networkFaults = [
  "cut",
  "cut mid-frame",
  "refuse",
  "black hole",
  "half-open",
  "silence up",
  "silence down",
  "delay",
  "throttle",
  "late, then silent"
] as const

export const clientFaults = ["client paused", "client killed"] as const
export const singleFaults = ["server paused", "server killed"] as const
export const clusterFaults = [
  "member paused",
  "member killed",
  "member isolated",
  "leader paused",
  "leader killed",
  "leader isolated"
] as const
export const storeFaults = ["compaction", "session ended", "entry deleted"] as const

export type StoreFault = (typeof storeFaults)[number]

export type Fault =
  | (typeof networkFaults)[number]
  | (typeof clientFaults)[number]
  | (typeof singleFaults)[number]
  | (typeof clusterFaults)[number]
  | StoreFault

export interface Step {
  /** From the beginning of the storm. */
  readonly at: number
  readonly fault: Fault
  /** Which node, or which member. */
  readonly target: number
  /** How long it lasts, where it does. */
  readonly millis: number
  /** A number for whatever else there is to choose. */
  readonly dice: number
}

export interface Storm {
  readonly millis: number
  readonly steps: ReadonlyArray<Step>
}

export interface Phase {
  readonly index: number
  readonly seed: number
  readonly members: number
  readonly storms: ReadonlyArray<Storm>
}

export interface Options {
  readonly seed: number
  readonly nodes: number
  /** What an operator can do to the store. */
  readonly storeFaults: ReadonlyArray<StoreFault>
  /** After so long without a renewal a session ends. */
  readonly expiryMillis: number
  /** How long each storm lasts, in the order in which they come. */
  readonly phases: ReadonlyArray<{ readonly members: number; readonly storms: ReadonlyArray<number> }>
}

/** Half of the faults are over before a session is, half are not. */
const lasting = (dice: number, expiryMillis: number): number =>
  Math.round((dice < 0.5 ? 0.04 + dice * 1.2 : 0.8 + (dice - 0.5) * 2) * expiryMillis)

export const isOnStore = (fault: Fault): fault is StoreFault => (storeFaults as ReadonlyArray<string>).includes(fault)

export const make = ({ expiryMillis, nodes, phases, seed, storeFaults: onStore }: Options): ReadonlyArray<Phase> => {
  const random = seeded(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const pick = <A>(values: ReadonlyArray<A>): A => values[below(values.length)] as A

  const storm = (members: number, millis: number): Storm => {
    const steps: Array<Step> = []
    const busy = new Map<string, number>()
    let serversBusyUntil = 0
    let at = 300
    while (at < millis - 500) {
      const kind = random()
      const server = members === 1 ? singleFaults : clusterFaults
      const fault: Fault =
        kind < 0.56 ? pick(networkFaults) : kind < 0.7 ? pick(clientFaults) : kind < 0.85 ? pick(server) : pick(onStore)
      const onServer = /^(server|member|leader)/.test(fault)
      const subjects = fault.startsWith("leader")
        ? ["leader"]
        : Array.from({ length: onServer ? members : nodes }, (_, index) => `${onServer ? "server" : "node"} ${index}`)
      const isFree = (subject: string) => (busy.get(subject) ?? 0) <= at
      const free = subjects.filter(isFree)
      const drawn = lasting(random(), expiryMillis)
      // Its stages take two seconds, and what it provokes shows after the lease.
      const length = Math.min(fault === "late, then silent" ? Math.max(drawn, 1.6 * expiryMillis) : drawn, millis - at)
      const dice = random()
      const subject = pick(free.length > 0 ? free : subjects)
      // Without a quorum nothing can be done at all, and nothing done wrong: rare is enough.
      const alone = !onServer || serversBusyUntil <= at || dice < 0.2
      if (free.length > 0 && alone) {
        if (onServer) serversBusyUntil = Math.max(serversBusyUntil, at + length + 500)
        steps.push({
          at: Math.round(at),
          fault,
          target: subjects.indexOf(subject),
          millis: Math.round(length),
          dice
        })
        if (!isOnStore(fault)) busy.set(subject, at + length + 500)
      }
      at += 200 + random() * 700
    }
    return { millis, steps }
  }

  return phases.map(({ members, storms }, index) => ({
    index,
    seed: below(2 ** 31),
    members,
    storms: storms.map((millis) => storm(members, millis))
  }))
}

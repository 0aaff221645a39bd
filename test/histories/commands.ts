/** What a random history is made of. */
import { Arbitrary, Record as Records, Schema, Struct } from "effect"

const slot = Schema.Literals(["a", "b", "c"])
export type Slot = typeof slot.Type
export const slots: ReadonlyArray<Slot> = slot.literals

const groupName = Schema.Literals(["discovery", "election", "lock", "barrier", "seats", "workers"])
export type GroupKey = typeof groupName.Type

export const Role = Schema.Literals(["member", "leader", "party", "seat", "worker", "rounds"])
export type Role = typeof Role.Type

const anyGroup = Schema.Literals([...groupName.literals, "opening", "acks"])
export type AnyGroup = typeof anyGroup.Type

const outcome = Schema.Literals(["applied", "not-applied", "late-200", "late-3000", "late-8000"])

const struct = Schema.TaggedStruct

/** What programs do. `part` counts the roles of the cast. */
const part = Schema.Literals([0, 1, 2])
const Start = struct("Start", { slot, part })
const Stop = struct("Stop", { slot, part })
const Bounce = struct("Bounce", { slot, part })
const Wait = struct("Wait", { slot, seconds: Schema.Literals([4, 15, 40]) })
const GiveUp = struct("GiveUp", { slot })
const State = struct("State", { slot, value: Schema.Literals(["ready", "busy"]) })
const Act = Schema.Union([
  Start,
  Start,
  Stop,
  Stop,
  Bounce,
  State,
  Wait,
  GiveUp,
  struct("Set", { slot, value: Schema.Literals(["1", "2", "3"]) }),
  struct("Lock", { slot, seconds: Schema.Literals([0, 1, 9]) }),
  struct("Read", { slot, group: groupName }),
  struct("Unread", { slot, group: groupName })
])

/** What befalls the link of one process. */
const Partition = struct("Partition", { slot, how: Schema.Literals(["silent", "refused", "answers-lost"]) })
const FreezeRenewals = struct("FreezeRenewals", { slot })
const HangReleases = struct("HangReleases", { slot })
const DelayRequests = struct("DelayRequests", { slot, millis: Schema.Literals([20, 400, 1_400, 2_500]) })
const LoseAnswer = struct("LoseAnswer", { slot, outcome })
const Heal = struct("Heal", { slot })

/** What befalls its watches. */
const DelayEvents = struct("DelayEvents", { slot, millis: Schema.Literals([30, 700, 2_500, 6_000]) })
const Lag = struct("Lag", { slot, millis: Schema.Literals([100, 2_000, 7_000]) })
const DuplicateEvents = struct("DuplicateEvents", { slot })
const DropEvents = struct("DropEvents", { slot, count: Schema.Literals([1, 2, 5]) })
const LowerIndex = struct("LowerIndex", { group: groupName })
const Compact = struct("Compact", {})

/** What befalls the process itself. */
const Pause = struct("Pause", { slot })
const Resume = struct("Resume", { slot })
const SkewClock = struct("SkewClock", { slot, rate: Schema.Literals([0.9, 0.95, 1.05, 1.1]) })
const JumpClock = struct("JumpClock", { slot, millis: Schema.Literals([500, 5_000, 60_000, -5_000]) })
const Restart = struct("Restart", { slot })
const Wake = struct("Wake", { slot })

/** What an operator does to the store. */
const ExpireSession = struct("ExpireSession", { slot })
const Remove = struct("Remove", { group: anyGroup, pick: Schema.Literals([0, 1, 2]) })
const Put = struct("Put", { group: groupName, id: Schema.Literals(["a", "b", "stranger"]) })
const Backup = struct("Backup", {})
const Rewind = struct("Rewind", {})

const Link = Schema.Union([Partition, FreezeRenewals, HangReleases, DelayRequests, LoseAnswer, LoseAnswer, Heal, Heal])
const Watch = Schema.Union([DelayEvents, Lag, DuplicateEvents, DropEvents, LowerIndex, Compact, Heal])
const Clock = Schema.Union([Pause, Resume, SkewClock, JumpClock, Restart, Wake, FreezeRenewals, Heal])
const Operator = Schema.Union([ExpireSession, Remove, Put])
const Restore = Schema.Union([Backup, Rewind])

const Command = Schema.Union([Act, Link, Watch, Clock, Operator, Restore])
export type Command = typeof Command.Type

/** A kind of trouble, and the roles that have something to lose by it. */
interface Theme {
  readonly cast: Schema.Codec<Role, unknown>
  readonly command: Schema.Codec<Command, unknown>
}

/**
 * A history of one kind of trouble meets its rare orders far more often than one of all kinds: with thirty commands
 * of twenty kinds hardly any two that matter to each other meet.
 */
const themes = {
  everything: { cast: Role, command: Schema.Union([Act, Act, Act, Link, Watch, Clock, Operator, Restore]) },
  calm: { cast: Role, command: Act },
  link: { cast: Role, command: Schema.Union([Act, Link]) },
  watches: { cast: Role, command: Schema.Union([Act, Watch, Watch, Partition]) },
  clocks: { cast: Role, command: Schema.Union([Act, Clock]) },
  operators: { cast: Role, command: Schema.Union([Act, Operator, LoseAnswer]) },
  restores: {
    cast: Role,
    command: Schema.Union([Act, Restore, Restore, Partition, DelayRequests, DelayEvents, Heal, ExpireSession])
  },
  writes: {
    cast: Schema.Literals(["member", "leader"]),
    command: Schema.Union([
      Start,
      Stop,
      Bounce,
      Bounce,
      LoseAnswer,
      LoseAnswer,
      DelayRequests,
      HangReleases,
      FreezeRenewals,
      Heal
    ])
  },
  leases: {
    cast: Schema.Literals(["leader", "worker"]),
    command: Schema.Union([SkewClock, DelayRequests, FreezeRenewals, Partition, Pause, Resume, Heal])
  },
  barriers: {
    cast: Schema.Literals(["rounds", "party"]),
    command: Schema.Union([
      Start,
      Stop,
      Wait,
      GiveUp,
      State,
      DropEvents,
      DropEvents,
      DelayEvents,
      Compact,
      ExpireSession,
      Heal
    ])
  },
  sequences: {
    cast: Schema.Literals(["worker", "seat"]),
    command: Schema.Union([Start, Stop, Restore, Lag, DropEvents, DelayEvents, Pause, Resume, ExpireSession, Heal])
  }
} satisfies Record<string, Theme>

/** A command, and how many milliseconds pass before the next one. */
export interface Step {
  readonly command: Command
  readonly then: number
}

/** The whole of a history: the roles that every process plays from the beginning, and then one step after another. */
export interface Script {
  readonly seed: number
  readonly cast: ReadonlyArray<Role>
  readonly steps: ReadonlyArray<Step>
}

const then = Schema.Literals([0, 0, 1, 40, 250, 1_000, 3_000, 9_000])

// Made once: deriving is slow, and shrinking asks for them again and again.
const parts = Records.map(themes, ({ cast, command }) =>
  Arbitrary.all({
    cast: Arbitrary.array(Arbitrary.schema(cast), { minLength: 1, maxLength: 3 }),
    steps: Arbitrary.array(Arbitrary.schema(Schema.Struct({ command, then })), { minLength: 1, maxLength: 50 })
  })
)

const seed = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 })))
const theme = Arbitrary.schema(Schema.Literals(Struct.keys(themes)))

export const scripts: Arbitrary.Arbitrary<Script> = Arbitrary.flatMap(
  Arbitrary.all({ seed, theme }),
  ({ seed, theme }) => Arbitrary.map(parts[theme], (part) => ({ seed, ...part }))
)

export const show = ({ command, then }: Step): string => {
  const { _tag, ...rest } = command
  return `${_tag} ${Object.values(rest).join(" ")} +${then}`
}

/** The parts that every benchmark is made of: stores of a given size, and readers that tell when they have read. */
import { Effect, PubSub, Stream } from "effect"
import type { Scope } from "effect"
import type { Group } from "effect-ensemble"
import { Memory } from "effect-ensemble"
import { Faults } from "effect-ensemble/testing"
import { now } from "./harness.ts"

/** Long enough that no renewal falls into a measurement. */
const ttl = "1 hour"

export const startProcess = (store: Memory.Store, node: string) => Memory.makeProcess(store, { node, ttl })

/** A store whose group has so many members, written past every client. */
export const filled = (
  name: Group.GroupName,
  size: number,
  value: (index: number) => string = (index) => `value ${index}`
): Effect.Effect<Memory.Store, never, Scope.Scope> =>
  Effect.gen(function* () {
    const store = yield* Memory.makeStore()
    const faults = Faults.make(store)
    for (let index = 0; index < size; index++) yield* faults.put(name, `member-${index}`, value(index))
    return store
  })

/** Counts what readers have read, and tells when a number of readings is complete. */
export interface Probe {
  /** To be called by a reader, in the turn in which it reads. */
  readonly read: () => void
  /** Starts to count so many readings. */
  readonly expect: (readings: number) => void
  /** Waits for the last of the expected readings, and gives its moment. */
  readonly done: Effect.Effect<number>
}

export const makeProbe = (): Probe => {
  let missing = 0
  let at = 0
  let wake = (): void => {}
  return {
    read: () => {
      missing--
      if (missing !== 0) return
      at = now()
      wake()
    },
    expect: (readings) => {
      missing = readings
    },
    done: Effect.callback((resume) => {
      if (missing <= 0) return resume(Effect.sync(() => at))
      wake = () => resume(Effect.sync(() => at))
    })
  }
}

/** Microseconds from an act to the last of the readings that it leads to. */
export const untilRead = <E, R>(
  probe: Probe,
  act: Effect.Effect<unknown, E, R>,
  readings: number
): Effect.Effect<number, E, R> =>
  Effect.gen(function* () {
    probe.expect(readings)
    const started = now()
    yield* act
    return (yield* probe.done) - started
  })

/** Starts readers that live as long as the scope, and waits until each has read the first elements. */
export const follow = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  options: {
    readonly first: number
    readonly readers?: number | undefined
    readonly read?: ((element: A) => void) | undefined
  }
): Effect.Effect<Probe, E, R | Scope.Scope> =>
  Effect.gen(function* () {
    const { first, read, readers = 1 } = options
    const probe = makeProbe()
    probe.expect(first * readers)
    const reader = stream.pipe(
      Stream.runForEach((element) =>
        Effect.sync(() => {
          read?.(element)
          probe.read()
        })
      ),
      Effect.orDie,
      Effect.forkScoped({ startImmediately: true })
    )
    for (let started = 0; started < readers; started++) yield* reader
    yield* probe.done
    return probe
  })

/** A member that comes and goes, written past every client: two changes of the group, microseconds for each. */
export const comeAndGo = (probe: Probe, faults: Faults.Faults, name: Group.GroupName, id: string, readers = 1) =>
  Effect.gen(function* () {
    const joined = yield* untilRead(probe, faults.put(name, id, "value"), readers)
    const left = yield* untilRead(probe, faults.remove(name, id), readers)
    return (joined + left) / 2
  })

/** An act between two turns of the scheduler, as the embedded store's network takes them for a request and its answer. */
export const request = (act: () => unknown): Effect.Effect<void> =>
  Effect.yieldNow.pipe(Effect.andThen(Effect.sync(act)), Effect.andThen(Effect.yieldNow))

/** What a program without the library would do within one process: a map, and a channel that tells of its changes. */
export interface Plain {
  readonly change: (change: Group.Change<string>) => Effect.Effect<void>
  readonly changes: Stream.Stream<Group.Change<string>>
}

export const makePlain: Effect.Effect<Plain> = Effect.map(PubSub.unbounded<Group.Change<string>>(), (pubsub) => {
  const members = new Map<string, Group.Member<string>>()
  return {
    change: (change) =>
      Effect.sync(() => {
        if (change._tag === "Left") members.delete(change.member.id)
        else members.set(change.member.id, change.member)
        PubSub.publishUnsafe(pubsub, change)
      }),
    changes: Stream.fromPubSub(pubsub)
  }
})

export const memberOf = (index: number): Group.Member<string> => ({
  id: `member-${index}`,
  token: BigInt(index),
  value: `value ${index}`,
  mine: false
})

/** The same coming and going in the plain map. */
export const comeAndGoPlain = (probe: Probe, plain: Plain, index: number, readers = 1) =>
  Effect.gen(function* () {
    const member = memberOf(index)
    const joined = yield* untilRead(probe, plain.change({ _tag: "Joined", member }), readers)
    const left = yield* untilRead(probe, plain.change({ _tag: "Left", member }), readers)
    return (joined + left) / 2
  })

/** What is measured on every store. */
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import type { Duration } from "effect"
import { makeProbe } from "../fixture.ts"
import { collect, now } from "../harness.ts"
import { count } from "../report.ts"
import type { Row } from "./measure.ts"
import type { Place, Seen, Way } from "./way.ts"

/** Members that join at the same time as others, as a program does that starts with many. */
export const atOnce = 64

/**
 * More than one sample a round would meet the same machine; more rounds would take long. What happens once in some milliseconds is
 * compiled late, and what is wanted is what a program meets that has run for a while.
 */
const usual = { rounds: 5, warmUps: 6 }

/** Of what happens hundreds of times in each round. */
const crowded = { rounds: 5, warmUps: 2 }

/** Members are never called the same twice: whoever reads them is told of each once. */
let called = 0
const names = (number: number): number => {
  called += number
  return called - number
}

type Places = (ttlSeconds?: number) => Place

const watched = Effect.fnUntraced(function* (way: Way, place: Place) {
  const pair = yield* way.pair(place)
  const probe = makeProbe()
  let wanted: Seen = "Joined"
  pair.onSeen((what) => {
    if (what === wanted) probe.read()
  })
  /** Does it, and gives the moment at which the other program has seen all of it. */
  const untilSeen = (what: Seen, number: number, act: Effect.Effect<void, unknown>) =>
    Effect.suspend(() => {
      wanted = what
      probe.expect(number)
      return Effect.andThen(act, probe.done)
    })
  let newest = 0
  return {
    ...pair,
    untilSeen,
    joinOne: Effect.suspend(() => {
      newest = names(1)
      return untilSeen("Joined", 1, pair.join(newest, 1, 1))
    }),
    setOne: (value: string) => Effect.suspend(() => untilSeen("Updated", 1, pair.set(newest, value))),
    leaveOne: Effect.suspend(() => untilSeen("Left", 1, pair.leave(newest)))
  }
})

type Watched = Effect.Success<ReturnType<typeof watched>>

export const pairs = (places: Places, pace: Duration.Input): ReadonlyArray<Row<Watched>> => {
  const make = (way: Way) => watched(way, places())
  const paced = Effect.sleep(pace)
  let version = 0
  return [
    {
      ...usual,
      what: "a join, until another program has seen it",
      make,
      act: ({ joinOne }) => joinOne,
      rest: ({ leaveOne }) => Effect.andThen(paced, Effect.andThen(leaveOne, paced)),
      samples: 30
    },
    {
      ...usual,
      what: "a changed value, until another program has seen it",
      make: (way) => Effect.tap(make(way), ({ joinOne }) => joinOne),
      act: ({ setOne }) => setOne(`version ${++version}`),
      rest: () => paced,
      samples: 40
    },
    {
      ...usual,
      what: "a leave, until another program has seen it",
      make: (way) => Effect.tap(make(way), ({ joinOne }) => joinOne),
      act: ({ leaveOne }) => leaveOne,
      rest: ({ joinOne }) => Effect.andThen(paced, Effect.andThen(joinOne, paced)),
      samples: 30
    }
  ]
}

/** So many joins, confirmed: what they cost each. */
export const joins = (places: Places, joiners: number, number: number): Row<Watched> => ({
  ...crowded,
  what: joiners === 1 ? "a join, confirmed" : `a join, confirmed, ${count(joiners)} at once, for each`,
  make: (way) => watched(way, places()),
  act: (pair) =>
    Effect.suspend(() => {
      let joined = 0
      const joining = Effect.tap(pair.join(names(number), number, joiners), () =>
        Effect.sync(() => {
          joined = now()
        })
      )
      return Effect.map(pair.untilSeen("Joined", number, joining), () => joined)
    }),
  rest: (pair) => Effect.andThen(pair.clear, Effect.andThen(Effect.sleep("100 millis"), collect)),
  samples: 2,
  each: number
})

/** A whole group that joins and is seen. */
export const filled = (places: Places, members: number): Row<Watched> => ({
  ...(members > 1_000 ? { rounds: 5, warmUps: 0 } : crowded),
  what: `${count(members)} members, until another program has seen all`,
  make: (way) => watched(way, places()),
  act: (pair) => Effect.suspend(() => pair.untilSeen("Joined", members, pair.join(names(members), members, atOnce))),
  rest: (pair) => Effect.andThen(pair.clear, Effect.sleep(`${200 + members / 10} millis`)),
  samples: 1
})

/** A group that nobody changes. */
export const quiet = (place: Place, members: number) => (way: Way) =>
  Effect.gen(function* () {
    const pair = yield* way.pair(place)
    yield* Effect.addFinalizer(() => Effect.ignore(pair.clear))
    yield* pair.join(names(members), members, atOnce)
  })

const candidate = (way: Way, place: Place, node: string) => way.candidate(place, node)

export const lock = (places: Places): Row<Effect.Success<ReturnType<typeof candidate>>> => ({
  ...usual,
  what: "a lock that nobody else wants: taken and given back",
  make: (way) => candidate(way, places(), "alone"),
  act: ({ lock }) => lock,
  samples: 60
})

/** Two programs that want to lead, one of which does while the other waits for its turn. */
interface Rivals {
  /** Ends the present tenure; gives the moment at which the other one leads. */
  readonly handOver: Effect.Effect<number, unknown>
  /** The former leader stands in line again. */
  readonly again: Effect.Effect<void>
}

/** Until who has lost stands in line and watches. */
const inLine = Effect.sleep("30 millis")

const rivals = Effect.fnUntraced(function* (way: Way, place: Place) {
  const candidates = [yield* way.candidate(place, "one"), yield* way.candidate(place, "two")] as const
  const lifetime = yield* Effect.scope
  const elected: [Deferred.Deferred<number>, Deferred.Deferred<number>] = [
    yield* Deferred.make<number>(),
    yield* Deferred.make<number>()
  ]
  const scopes: [Scope.Closeable, Scope.Closeable] = [yield* Scope.make(), yield* Scope.make()]
  const run = Effect.fnUntraced(function* (index: 0 | 1) {
    const scope = yield* Scope.make()
    const done = yield* Deferred.make<number>()
    scopes[index] = scope
    elected[index] = done
    yield* candidates[index].lead.pipe(
      Scope.provide(scope),
      Effect.tap(() => Effect.sync(() => Deferred.doneUnsafe(done, Effect.succeed(now())))),
      Effect.forkIn(lifetime, { startImmediately: true })
    )
    return done
  })
  yield* Effect.addFinalizer(() => Effect.forEach(scopes, (scope) => Scope.close(scope, Exit.void), { discard: true }))
  yield* Deferred.await(yield* run(0))
  yield* run(1)
  yield* inLine
  let leader: 0 | 1 = 0
  const made: Rivals = {
    handOver: Effect.gen(function* () {
      const other = leader === 0 ? 1 : 0
      const resigned = yield* Effect.forkIn(Scope.close(scopes[leader], Exit.void), lifetime, {
        startImmediately: true
      })
      const at = yield* Deferred.await(elected[other])
      // Nobody who takes over waits for the answer to the resignation, but it is a part of what is done.
      yield* Fiber.join(resigned)
      return at
    }),
    again: Effect.suspend(() => {
      const former = leader
      leader = leader === 0 ? 1 : 0
      return Effect.andThen(run(former), inLine)
    })
  }
  return made
})

export const handOver = (places: Places): Row<Rivals> => ({
  ...usual,
  what: "a leader resigns, until the next one leads",
  make: (way) => rivals(way, places()),
  act: ({ handOver }) => handOver,
  rest: ({ again }) => again,
  samples: 10
})

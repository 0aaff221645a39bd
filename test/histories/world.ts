/** Runs a random history: processes on one hostile store, each playing its roles, under recording. */
import { Cause, Effect, Exit, Fiber, Random, Schedule, Schema, Scope, Stream } from "effect"
import { Barrier, Discovery, Election, Group, Lock, Memory, Sequence } from "effect-ensemble"
import type { Membership } from "effect-ensemble"
import { Faults, History } from "effect-ensemble/testing"
import { TestClock } from "effect/testing"
import type { AnyGroup, Command, GroupKey, Role, Script, Slot } from "./commands.ts"
import { slots } from "./commands.ts"

export const ttlMillis = 10_000

const Here = Discovery.make("here")
const Chief = Election.make("chief")
const Key = Lock.make("key")
const Gate = Barrier.make("gate", { state: Schema.String, minimum: 2, isReady: (state) => state === "ready" })
const Seats = Sequence.make("seats")
const Workers = Sequence.make("workers")

const groups: Record<AnyGroup, Group.GroupName> = {
  discovery: Here.group,
  election: Chief.group,
  lock: Key.group,
  barrier: Gate.group,
  seats: Seats.group,
  workers: Workers.group,
  opening: { kind: "barrier-opening", name: Gate.name },
  acks: { kind: "sequence-ack", name: Workers.name }
}

/** Roles that last until they are stopped, and the group in which they hold a place meanwhile. */
const lasting: Record<Exclude<Role, "rounds">, Group.GroupName> = {
  member: groups.discovery,
  leader: groups.election,
  party: groups.barrier,
  seat: groups.seats,
  worker: groups.workers
}

const reading: Record<Role, GroupKey> = {
  member: "discovery",
  leader: "election",
  party: "barrier",
  seat: "seats",
  worker: "workers",
  rounds: "barrier"
}

export const rules: History.CheckOptions = {
  barriers: { [Group.label(Gate.group)]: { minimum: Gate.minimum, isReady: (value) => value === "ready" } }
}

/** How long after the last fault everything must have come true. */
const settleMillis = 60_000

/** How long a release may take while its process is not paused: a body's clean-up, a barrier's record, a request. */
const releaseMillis = 2 * ttlMillis

/** What stops late shows who does not wait for it. */
const cleanUp = Effect.sleep(200)

interface Playing {
  readonly role: string
  readonly fiber: Fiber.Fiber<unknown, unknown>
}

interface Actor {
  readonly name: string
  readonly slot: Slot
  readonly process: Memory.Process
  readonly scope: Scope.Closeable
  readonly playing: Map<string, Playing>
  member: Membership.Membership | undefined
  value: string
  party: Barrier.Participant<string> | undefined
  /** Of its participants in the barrier, also those it has lost. */
  readonly places: Array<{ readonly id: string; readonly token: bigint }>
  state: string
}

/** What a history must not do beyond breaking a guarantee. */
export interface Trouble {
  readonly trouble: string
}

export interface Outcome {
  readonly events: ReadonlyArray<History.Event>
  readonly violations: ReadonlyArray<History.Violation>
  readonly troubles: ReadonlyArray<string>
}

/**
 * Lets time pass once everybody has come to rest: the clock itself waits only for those it wakes, so what was just asked
 * for would otherwise begin at the end of the time.
 */
const pass = (millis: number) => Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 60 }), TestClock.adjust(millis))

const again = Schedule.spaced("500 millis")

export const run = ({ cast, seed, steps }: Script): Effect.Effect<Outcome> =>
  Effect.gen(function* () {
    const history = yield* History.make
    const store = yield* Memory.makeStore({ seed })
    yield* History.recordStore(history, store)
    const bare = Faults.make(store)
    const faults = History.recordFaults(history, bare)
    const actors = new Map<Slot, Actor>()
    const zombies: Array<Actor> = []
    const troubles: Array<string> = []
    const ending: Array<Fiber.Fiber<unknown, unknown>> = []
    const outer = yield* Effect.scope
    let starts = 0
    let backup: Faults.Backup | undefined

    const begin = Effect.fnUntraced(function* (slot: Slot) {
      const name = starts++ < slots.length ? slot : `${slot}.${starts}`
      const scope = yield* Scope.fork(outer)
      const process = yield* Memory.makeProcess(store, { node: name, ttl: ttlMillis, connect: "background" }).pipe(
        Scope.provide(scope),
        Effect.orDie
      )
      const actor: Actor = {
        name,
        slot,
        process,
        scope,
        playing: new Map(),
        member: undefined,
        value: "0",
        party: undefined,
        places: [],
        state: "ready"
      }
      actors.set(slot, actor)
      yield* Effect.forkIn(watchSession(actor), scope)
    })

    /** Nobody loses a session to whom nothing was done: other processes' troubles are not its own. */
    const watchSession = (actor: Actor) =>
      Stream.runForEach(actor.process.coordinator.session, (state) =>
        Effect.map(history.events, (events) => {
          // A write that is applied late costs a session, if it is late enough.
          if (state._tag !== "Lost" || state.cause === "DebtUnsettled") return
          const struck = events.some(
            (event) =>
              event._tag === "Restored" ||
              (event.process === actor.name && (event._tag === "Cut" || event._tag === "Paused"))
          )
          if (!struck) troubles.push(`${actor.name} lost its session (${state.cause}) and nothing had been done to it`)
        })
      )

    /** An entry that is gone while its session lives was removed by an operator, or not at all. */
    const watchEntry = (actor: Actor, group: Group.GroupName, mine: Membership.Membership) => {
      let held: bigint | undefined
      return Stream.runForEach(mine.status, (status) =>
        Effect.map(history.events, (events) => {
          const token = held
          held = status._tag === "Held" ? status.token : undefined
          if (token === undefined || status._tag !== "Rejoining" || status.cause !== "EntryGone") return
          const last = events.findLast(
            (event) =>
              event._tag === "Restored" ||
              (event._tag === "Removed" && event.group === Group.label(group) && event.token === token)
          )
          if (last === undefined || (last._tag === "Removed" && !last.forced)) {
            troubles.push(
              `${actor.name} lost its place ${token} in ${Group.label(group)}, and no operator had taken it`
            )
          }
        })
      )
    }

    const holder = (actor: Actor, group: Group.GroupName) => ({ process: actor.name, group })

    const placed = (actor: Actor, id: string, status: Membership.MembershipStatus) => {
      if (status._tag === "Held") actor.places.push({ id, token: status.token })
    }

    const waiter = (actor: Actor) => ({
      ...holder(actor, groups.barrier),
      mine: actor.places
    })

    /** Asks whether the place is held, for ever, as a program does before each act on the outside world. */
    const act = (actor: Actor, group: Group.GroupName, place: Pick<Membership.Membership, "id" | "ensure">) =>
      Effect.forever(
        Effect.andThen(
          History.recordEnsure(history, holder(actor, group), place),
          Effect.flatMap(Random.nextBetween(200, 500), (millis) => Effect.sleep(millis))
        )
      )

    const roles: Record<Role, (actor: Actor) => Effect.Effect<unknown, unknown, never>> = {
      member: (actor) =>
        Effect.gen(function* () {
          const group = actor.process.coordinator.group(groups.discovery)
          const { value } = actor
          const mine = yield* group.join({ id: actor.slot, value }, { rejoin: true })
          actor.member = mine
          yield* Effect.forkScoped(watchEntry(actor, groups.discovery, mine))
          if (actor.value !== value) yield* Effect.forkChild(Effect.ignore(mine.set(actor.value)))
          return yield* Effect.forever(
            Effect.andThen(Effect.ignore(act(actor, groups.discovery, mine)), Effect.sleep(100))
          )
        }).pipe(
          Effect.scoped,
          Effect.ensuring(
            Effect.sync(() => {
              actor.member = undefined
            })
          )
        ),
      leader: (actor) =>
        actor.process.run(
          Election.lead(
            Chief,
            (tenure) =>
              History.recordTenure(
                history,
                holder(actor, groups.election),
                tenure,
                Effect.ensuring(act(actor, groups.election, tenure), cleanUp)
              ),
            { id: actor.slot, value: actor.name }
          )
        ),
      party: (actor) =>
        Effect.gen(function* () {
          const { state } = actor
          const party = yield* Barrier.announce(Gate, state, { id: actor.slot })
          actor.party = party
          if (actor.state !== state) yield* Effect.forkChild(Effect.ignore(party.set(actor.state)))
          yield* Stream.runForEach(party.status, (status) =>
            Effect.sync(() => {
              placed(actor, actor.slot, status)
            })
          )
          return yield* Effect.never
        }).pipe(
          Effect.scoped,
          actor.process.run,
          Effect.ensuring(
            Effect.sync(() => {
              actor.party = undefined
            })
          )
        ),
      rounds: (actor) =>
        Effect.gen(function* () {
          const id = `${actor.slot}-again`
          const party = yield* Barrier.announce(Gate, "busy", { id })
          yield* Effect.forkScoped(
            Stream.runForEach(party.status, (status) =>
              Effect.sync(() => {
                placed(actor, id, status)
              })
            )
          )
          yield* Effect.sleep(300)
          yield* Effect.forkScoped(Effect.ignore(party.set("ready")))
          yield* Effect.suspend(() =>
            History.recordWait(history, waiter(actor), Barrier.wait(Gate, { timeout: "8 seconds" }))
          )
        }).pipe(Effect.scoped, Effect.ignore, Effect.repeat({ times: 3 }), actor.process.run),
      seat: (actor) =>
        actor.process.run(
          History.recordSeats(history, holder(actor, groups.seats), Sequence.join(Seats, { id: actor.slot }))
        ),
      worker: (actor) =>
        actor.process.run(
          Sequence.run(
            Workers,
            (seat) =>
              History.recordSeat(
                history,
                { ...holder(actor, groups.workers), coordinator: actor.process.coordinator, exclusive: true },
                seat,
                Effect.ensuring(Effect.never, cleanUp)
              ),
            { id: actor.slot, exclusive: true }
          )
        )
    }

    const play = (actor: Actor, role: string, effect: Effect.Effect<unknown, unknown>) =>
      Effect.gen(function* () {
        if (actor.playing.has(role)) return
        const fiber = yield* Effect.forkIn(effect, outer)
        actor.playing.set(role, { role, fiber })
        fiber.addObserver((exit) => {
          if (actor.playing.get(role)?.fiber === fiber) actor.playing.delete(role)
          if (Exit.isFailure(exit) && Cause.hasDies(exit.cause)) {
            troubles.push(`${actor.name} died as ${role}: ${Cause.pretty(exit.cause)}`)
          }
        })
      })

    const isPaused = (events: ReadonlyArray<History.Event>, name: string, from: number) => {
      const last = events.findLast(
        (event) => event.process === name && (event._tag === "Paused" || event._tag === "Resumed") && event.at < from
      )
      return (
        last?._tag === "Paused" ||
        events.some((event) => event.process === name && event._tag === "Paused" && event.at >= from)
      )
    }

    const stop = (actor: Actor, role: string) =>
      Effect.gen(function* () {
        const playing = actor.playing.get(role)
        if (playing === undefined) return
        const clock = yield* TestClock.testClockWith(Effect.succeed)
        const from = clock.currentTimeMillisUnsafe()
        const { fiber } = playing
        ending.push(
          yield* Fiber.interrupt(fiber).pipe(
            Effect.andThen(history.events),
            Effect.tap((events) =>
              Effect.sync(() => {
                const took = clock.currentTimeMillisUnsafe() - from
                if (took > releaseMillis && !isPaused(events, actor.name, from)) {
                  troubles.push(`${actor.name} took ${took} ms to stop as ${role}`)
                }
              })
            ),
            Effect.forkIn(outer)
          )
        )
      })

    const read = (actor: Actor, key: GroupKey) => {
      const group = actor.process.coordinator.group(groups[key])
      // One that is slow is given several steps at once.
      const changes = actor.slot === "b" ? Stream.tap(group.changes, () => Effect.sleep(150)) : group.changes
      const who = { process: actor.name, reader: `${actor.name} reads ${key} ${starts++}` }
      return play(
        actor,
        `read ${key}`,
        Effect.all(
          [History.recordViews(history, who, group), History.recordChanges(history, who, { ...group, changes })],
          {
            concurrency: "unbounded"
          }
        )
      )
    }

    const startRole = (actor: Actor, role: Role) =>
      play(
        actor,
        role,
        Effect.suspend(() => roles[role](actor)).pipe(
          // A program that means to take part tries until it does.
          Effect.retry(again)
        )
      )

    const withActor = (slot: Slot, f: (actor: Actor) => Effect.Effect<void>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const actor = actors.get(slot)
        return actor === undefined ? Effect.void : f(actor)
      })
    const node = (slot: Slot): string => actors.get(slot)?.name ?? slot

    const roleOf = (part: number): Role => cast[part % cast.length] ?? "leader"

    const perform = (command: Command): Effect.Effect<void> => {
      switch (command._tag) {
        case "Start":
          return withActor(command.slot, (actor) => startRole(actor, roleOf(command.part)))
        case "Stop":
          return withActor(command.slot, (actor) => stop(actor, roleOf(command.part)))
        case "Bounce":
          return withActor(command.slot, (actor) => {
            const role = roleOf(command.part)
            const playing = actor.playing.get(role)
            if (playing === undefined) return startRole(actor, role)
            const restart = Effect.andThen(Fiber.await(playing.fiber), startRole(actor, role))
            return Effect.andThen(stop(actor, role), Effect.asVoid(Effect.forkIn(restart, outer)))
          })
        case "Set":
          return withActor(command.slot, (actor) => {
            actor.value = command.value
            const set = actor.member?.set(command.value) ?? Effect.void
            return Effect.asVoid(Effect.forkIn(Effect.ignore(set), outer))
          })
        case "State":
          return withActor(command.slot, (actor) => {
            actor.state = command.value
            const set = actor.party?.set(command.value) ?? Effect.void
            return Effect.asVoid(Effect.forkIn(Effect.ignore(set), outer))
          })
        case "Wait":
          return withActor(command.slot, (actor) =>
            play(
              actor,
              "wait",
              Effect.ignore(
                actor.process.run(
                  History.recordWait(history, waiter(actor), Barrier.wait(Gate, { timeout: command.seconds * 1_000 }))
                )
              )
            )
          )
        case "GiveUp":
          return withActor(command.slot, (actor) => stop(actor, "wait"))
        case "Lock":
          return withActor(command.slot, (actor) =>
            play(
              actor,
              `lock ${starts++}`,
              Effect.ignore(
                actor.process.run(
                  Lock.withLock(Key, (tenure) =>
                    History.recordTenure(
                      history,
                      holder(actor, groups.lock),
                      tenure,
                      Effect.raceFirst(act(actor, groups.lock, tenure), Effect.sleep(command.seconds * 1_000)).pipe(
                        Effect.ensuring(cleanUp)
                      )
                    )
                  )
                )
              )
            )
          )
        case "Read":
          return withActor(command.slot, (actor) => read(actor, command.group))
        case "Unread":
          return withActor(command.slot, (actor) => stop(actor, `read ${command.group}`))
        case "Partition":
          return faults.partition(node(command.slot), command.how)
        case "FreezeRenewals":
          return faults.freezeRenewals(node(command.slot))
        case "HangReleases":
          return faults.hangReleases(node(command.slot))
        case "Pause":
          return faults.pause(node(command.slot))
        case "Resume":
          return faults.resume(node(command.slot))
        case "SkewClock":
          return faults.skewClock(node(command.slot), command.rate)
        case "JumpClock":
          return faults.jumpClock(node(command.slot), command.millis)
        case "DelayRequests":
          return faults.delayRequests(node(command.slot), command.millis)
        case "DelayEvents":
          return faults.delayEvents(node(command.slot), command.millis)
        case "Lag":
          return faults.lag(node(command.slot), command.millis)
        case "DuplicateEvents":
          return faults.duplicateEvents(node(command.slot))
        case "DropEvents":
          return faults.dropEvents(node(command.slot), command.count)
        case "LoseAnswer": {
          const { outcome } = command
          return faults.loseAnswer(
            node(command.slot),
            outcome === "applied" || outcome === "not-applied" ? outcome : { appliedAfter: Number(outcome.slice(5)) }
          )
        }
        case "ExpireSession":
          return faults.expireSession(node(command.slot))
        case "Heal":
          return faults.heal(node(command.slot))
        case "Remove":
          return Effect.flatMap(Faults.inspect(store), ({ entries }) => {
            const label = Group.label(groups[command.group])
            const here = entries.filter((entry) => entry.group === label)
            const entry = here[command.pick % Math.max(1, here.length)]
            return entry === undefined ? Effect.void : faults.remove(groups[command.group], entry.id)
          })
        case "Put":
          return faults.put(groups[command.group], command.id, "ready")
        case "LowerIndex":
          return faults.lowerIndex(groups[command.group])
        case "Compact":
          return faults.compact
        case "Backup":
          return Effect.map(faults.backup, (made) => {
            backup = made
          })
        case "Rewind":
          return backup === undefined ? Effect.void : faults.rewind(backup)
        case "Restart":
          return withActor(command.slot, (actor) =>
            Effect.gen(function* () {
              yield* faults.pause(actor.name)
              zombies.push(actor)
              yield* begin(actor.slot)
            })
          )
        case "Wake":
          return Effect.forEach(
            zombies.filter((zombie) => zombie.slot === command.slot),
            (zombie) => faults.resume(zombie.name),
            { discard: true }
          )
      }
    }

    const entriesOf = (group: AnyGroup) =>
      Effect.map(Faults.inspect(store), ({ entries }) =>
        entries.filter((entry) => entry.group === Group.label(groups[group]))
      )

    /** What was asked for has come true. */
    const converged = Effect.gen(function* () {
      const say = (what: string) => troubles.push(`Not settled: ${what}`)
      for (const [role, name] of Object.entries(lasting)) {
        const label = Group.label(name)
        const { entries } = yield* Faults.inspect(store)
        const there = entries
          .filter((entry) => entry.group === label)
          .map(({ id }) => id)
          .sort()
        const wanted = Array.from(actors.values())
          .filter((actor) => actor.playing.has(role))
          .map(({ slot }) => slot)
          .sort()
        if (String(there) !== String(wanted)) say(`${label} has ${there.join()} and should have ${wanted.join()}`)
      }
      for (const group of ["lock", "opening"] as const) {
        const left = yield* entriesOf(group)
        if (left.length > 0) say(`${group} still has ${left.map(({ id }) => id).join()}`)
      }
      for (const actor of actors.values()) {
        if (actor.playing.has("member")) {
          const held = actor.member === undefined ? undefined : yield* Effect.exit(actor.member.ensure)
          const entry = (yield* entriesOf("discovery")).find(({ id }) => id === actor.slot)
          if (held === undefined || Exit.isFailure(held)) say(`${actor.name} does not hold its place`)
          else if (held.value !== entry?.token) say(`${actor.name} holds ${held.value}, not ${entry?.token}`)
          if (entry?.value !== actor.value) say(`${actor.name} published ${entry?.value}, not ${actor.value}`)
        }
        const party = (yield* entriesOf("barrier")).find(({ id }) => id === actor.slot)
        if (actor.playing.has("party") && party?.value !== actor.state) {
          say(`${actor.name} announced ${party?.value}, not ${actor.state}`)
        }
        for (const role of actor.playing.keys()) {
          if (role.startsWith("lock ")) say(`${actor.name} still waits for the lock`)
        }
      }
      const events = yield* history.events
      const chiefs = new Set<string>()
      for (const event of events) {
        if (event._tag === "Granted" && event.group === Group.label(Chief.group)) chiefs.add(event.process)
        if (event._tag === "Stopped" && event.group === Group.label(Chief.group)) chiefs.delete(event.process)
      }
      const wanted = Array.from(actors.values()).some((actor) => actor.playing.has("leader")) ? 1 : 0
      if (chiefs.size !== wanted) say(`${chiefs.size} lead and ${wanted} should`)
    })

    const count = Effect.fnUntraced(function* (sessions: boolean) {
      const found = yield* Faults.inspect(store)
      yield* History.record(history, {
        _tag: "Counted",
        process: "the test",
        entries: found.entries.map(({ group, id, token }) => ({ group, id, token })),
        sessions: sessions ? found.sessions : 0,
        watches: found.watches
      })
    })

    const close = (list: Iterable<Actor>) =>
      Effect.forEach(list, (actor) =>
        Effect.forEach(Array.from(actor.playing.keys()), (role) => stop(actor, role), { discard: true })
      )

    for (const slot of slots) yield* begin(slot)
    for (const actor of actors.values()) {
      for (const role of new Set(cast)) {
        yield* startRole(actor, role)
        if (actor.slot !== "c") yield* read(actor, reading[role])
      }
    }
    yield* pass(1)
    for (const { command, then } of steps) {
      yield* perform(command)
      if (then > 0) yield* pass(then)
    }

    yield* faults.healAll
    yield* close(zombies)
    const strangers = (yield* Faults.inspect(store)).entries.filter((entry) => entry.session === undefined)
    for (const group of Object.values(groups)) {
      const label = Group.label(group)
      for (const { id } of strangers.filter((entry) => entry.group === label)) yield* faults.remove(group, id)
    }
    yield* pass(settleMillis)
    for (const zombie of zombies) yield* Effect.forkIn(Scope.close(zombie.scope, Exit.void), outer)
    yield* pass(10_000)
    yield* History.record(history, { _tag: "Settled", process: "the test" })
    yield* converged

    yield* close(actors.values())
    yield* pass(3 * ttlMillis)
    if (ending.some((fiber) => fiber.pollUnsafe() === undefined)) troubles.push("A release has not ended")
    yield* count(false)
    for (const actor of actors.values()) yield* Effect.forkIn(Scope.close(actor.scope, Exit.void), outer)
    yield* pass(3 * ttlMillis)
    yield* count(true)

    const events = yield* history.events
    return { events, violations: History.check(events, rules), troubles }
  }).pipe(Effect.scoped, Random.withSeed(seed), Effect.provide(TestClock.layer()))

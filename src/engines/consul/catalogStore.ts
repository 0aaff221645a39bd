/** The kind `discovery`: a group whose members are services that the agent has registered in the catalog. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { CoordinatorError, InvalidOptions, OutcomeUnknown, Unreachable } from "../../CoordinatorError.ts"
import type { GroupName } from "../../Group.ts"
import { label } from "../../Group.ts"
import { resync, WatchBroken } from "../../internal/resync.ts"
import { within } from "../../internal/within.ts"
import * as blocking from "./blocking.ts"
import type { Entry, Feed, Followed, GroupStore } from "../../internal/store.ts"
import type { Listed } from "./catalog.ts"
import { entriesOf, instanceOf, isCritical, ownerOf, registrationOf, serviceIdOf } from "./catalog.ts"
import { Check, definitionOf } from "./checks.ts"
import type { HttpAnswer } from "./http.ts"
import type { Kv } from "./kv.ts"
import { strange } from "./kv.ts"
import * as Polls from "./polls.ts"
import type { Requests } from "./requests.ts"

export interface Settings {
  readonly endpoint: string
  readonly requestMillis: number
  readonly includeCritical: boolean
  /** What a group's service is called. */
  readonly serviceOf: (name: string) => string
}

/** All services that this process has registered with its agent. */
export interface Catalog {
  readonly group: (name: GroupName) => GroupStore
  /** What a session was granted, for checks that are to fail when it has ended. */
  readonly opened: (session: string, ttlMillis: number) => void
  /** Tells the agent that the instances of a session are well. */
  readonly pass: (session: string) => Effect.Effect<void>
  /** Removes the instances of a session that has ended. */
  readonly forget: (session: string) => Effect.Effect<void, CoordinatorError>
}

/** What this process has told its agent of a service. */
interface Registered {
  readonly session: string
  readonly renewed: boolean
  /** As the catalog has it, once it has been read there. */
  token: bigint | undefined
}

/** A service as its own agent describes it. */
interface AgentService {
  readonly ContentHash: string
  readonly Meta: Readonly<Record<string, string>> | null
}

interface Found {
  readonly listed: ReadonlyArray<Listed>
  readonly index: bigint | undefined
  readonly revision: bigint
  readonly epoch: number
}

/** The agent writes what it is told to the catalog at once, and later when that fails: so often it is looked for, and so long after. */
const looks = 5
const lookMillis = 50

export const make = (requests: Requests, kv: Kv, settings: Settings): Catalog => {
  const { endpoint, includeCritical, requestMillis, serviceOf } = settings
  const ttls = new Map<string, number>()
  const registered = new Map<string, Registered>()
  const turns = new Map<string, Semaphore.Semaphore>()
  /** The highest index of a service that any answer has named. */
  let highest = 0n

  const failure = (operation: string, reason: InvalidOptions | OutcomeUnknown | Unreachable) =>
    new CoordinatorError({ engine: "consul", operation, endpoint, reason })

  /** One at a time for each service: an agent has no comparison, so what is read of it must still be so when it is acted on. */
  const alone =
    (serviceId: string) =>
    <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        const turn = turns.get(serviceId) ?? Semaphore.makeUnsafe(1)
        turns.set(serviceId, turn)
        return turn.withPermit(effect)
      })

  /** Removes a service from the agent if this session has registered it. */
  const deregister = (operation: string, serviceId: string, session: string | undefined) =>
    Effect.gen(function* () {
      const path = encodeURIComponent(serviceId)
      const known = yield* requests.agent(
        operation,
        { method: "GET", path: `/agent/service/${path}`, effects: "read" },
        [200, 404]
      )
      const { Meta } = (known.status === 200 ? known.body : {}) as { readonly Meta?: Readonly<Record<string, string>> }
      if (known.status === 404 || ownerOf(Meta) !== session) return
      yield* requests.agent(
        operation,
        { method: "PUT", path: `/agent/service/deregister/${path}`, effects: "write" },
        [200, 404]
      )
    }).pipe(alone(serviceId))

  const group = (name: GroupName): GroupStore => {
    const service = serviceOf(name.name)
    const text = label(name)

    const read = (
      operation: string,
      filter?: string,
      index?: bigint,
      waitMillis?: number
    ): Effect.Effect<Found, CoordinatorError> =>
      Effect.suspend(() => {
        const before = highest
        const epoch = kv.epochUnsafe()
        const query = {
          consistent: "",
          ...(filter === undefined ? {} : { filter }),
          ...(index === undefined ? {} : { index: String(index) })
        }
        const path = `/health/service/${encodeURIComponent(service)}`
        const wait = waitMillis === undefined ? {} : { waitMillis }
        return Effect.flatMap(
          requests.any(operation, { method: "GET", path, query, effects: "read", ...wait }, [200]),
          (answer) => {
            const { body, index: said } = answer
            if (said === undefined || !Array.isArray(body)) return Effect.fail(strange(operation, answer))
            if (said > highest) highest = said
            const revision = said > before ? said : before
            return Effect.succeed({ listed: body as ReadonlyArray<Listed>, index: said, revision, epoch })
          }
        )
      })

    const one = (id: string) => `Service.ID == ${JSON.stringify(serviceIdOf(service, id))}`

    /** What the catalog has of this process's own, whose tokens are looked for in what the agent says. */
    const note = (entry: Entry) => {
      const known = registered.get(serviceIdOf(service, entry.id))
      if (known !== undefined && known.session === entry.owner) known.token = entry.token
    }

    /** One that is critical is still there for whoever holds it; only views leave it out. */
    const shown = ({ listed }: Found) =>
      entriesOf(includeCritical ? listed : listed.filter((each) => !isCritical(each)))

    /** By an id that another agent's instance may have too: what this process has registered comes first. */
    const find = (found: Found, id: string): Option.Option<Entry> => {
      const entries = entriesOf(found.listed)
      const session = registered.get(serviceIdOf(service, id))?.session
      const mine = entries.find(({ owner }) => owner !== undefined && owner === session)
      const entry = mine === undefined ? entries.find((other) => other.id === id) : { ...mine, id }
      if (entry !== undefined) note(entry)
      return Option.fromNullishOr(entry)
    }

    const patience = {
      millis: requestMillis,
      orElse: failure("Group.watch", new Unreachable({ detail: `No answer within ${Math.round(requestMillis)} ms` }))
    }

    const { timers } = kv
    const polling = {
      indexOf: ({ index }: Found) => index,
      onReset: kv.probe("Group.watch"),
      timers,
      endpoint,
      requestMillis
    }

    const snapshotOf = (found: Found) => ({ entries: shown(found), revision: found.revision, epoch: found.epoch })

    const feed = resync<Feed>({
      label: text,
      within: patience,
      start: Effect.map(read("Group.watch.list"), (first) => {
        const answers = Polls.stream(
          Polls.make({
            ...polling,
            ask: (index, waitMillis) =>
              Polls.question(timers, endpoint, read("Group.watch", undefined, index, waitMillis)),
            from: first.index ?? 0n
          })
        )
        return Stream.concat(
          Stream.make<[Feed]>({ _tag: "Snapshot", snapshot: snapshotOf(first) }),
          Stream.mapEffect(answers, (found) =>
            found.epoch === first.epoch
              ? Effect.succeed<Feed>({ _tag: "Snapshot", snapshot: snapshotOf(found) })
              : Effect.fail(new WatchBroken({ why: "rewound" }))
          )
        )
      }),
      disconnected: (cause) => [{ _tag: "Disconnected", cause }]
    })

    /**
     * As the agent has it, which is what the catalog is made of: the catalog's own query wakes with every change of any instance, so
     * a thousand that each watched themselves there would be told a million times. An agent's answers have a hash and no index.
     */
    const follow = (id: string) => {
      const serviceId = serviceIdOf(service, id)
      const path = `/agent/service/${encodeURIComponent(serviceId)}`
      const ask = (hash: string): Effect.Effect<HttpAnswer, CoordinatorError> => {
        const wait = hash === "" ? {} : { query: { hash }, waitMillis: blocking.waitMillis }
        return requests.agent("Group.follow", { method: "GET", path, effects: "read", ...wait }, [200, 404])
      }
      const start = Effect.sync(() => {
        let hash = ""
        const pull = Effect.gen(function* () {
          const { body, status } = yield* within(ask(hash), {
            millis: requestMillis + (hash === "" ? 0 : blocking.longestMillis(blocking.waitMillis)),
            orElse: Effect.fail(patience.orElse)
          })
          const { ContentHash, Meta = {} } = (status === 200 ? body : {}) as Partial<AgentService>
          hash = ContentHash ?? ""
          // Without one it would be asked again at once, and without end.
          if (hash === "") yield* Effect.sleep(blocking.pauseMillis)
          const known = registered.get(serviceId)
          const owner = ownerOf(Meta)
          const token = known?.session === owner ? (known?.token ?? 0n) : 0n
          const entry = { id, value: "", token, version: 0n, owner }
          const followed: Followed = { entry: status === 404 ? Option.none() : Option.some(entry), revision: highest }
          return [followed] as const
        })
        return Stream.fromPull(Effect.succeed(pull))
      })
      return resync<Followed>({ label: text, within: patience, start, disconnected: () => [] })
    }

    const register = Effect.fnUntraced(function* (operation: string, session: string, id: string, value: string) {
      const instance = instanceOf(value)
      if (instance === undefined) {
        const detail = `Consul's catalog holds instances as Discovery writes them, and not "${value.slice(0, 32)}"`
        return yield* failure(operation, new InvalidOptions({ detail }))
      }
      const check = yield* Check
      const serviceId = serviceIdOf(service, id)
      const body = {
        ...registrationOf(service, id, session, instance),
        Check: definitionOf(check, instance, ttls.get(session) ?? requestMillis)
      }
      registered.set(serviceId, { session, renewed: check._tag === "Ttl", token: undefined })
      const request = { method: "PUT", path: "/agent/service/register", body, effects: "write" } as const
      yield* alone(serviceId)(requests.agent(operation, request, [200]))
      for (let left = looks; left > 0; left--) {
        const entry = find(yield* read(operation, one(id)), id)
        if (Option.isSome(entry) && entry.value.owner === session && entry.value.value === canonical(value)) {
          return entry.value
        }
        yield* Effect.sleep(lookMillis)
      }
      const detail = `The agent has taken ${serviceId}, and the catalog does not show it yet`
      return yield* failure(operation, new OutcomeUnknown({ detail }))
    })

    /** As the catalog gives it back. */
    const canonical = (value: string) => {
      const { address, attributes, port } = instanceOf(value) ?? { address: "", attributes: {}, port: 0 }
      return JSON.stringify({ address, port, attributes })
    }

    return {
      feed,
      follow,
      list: Effect.map(read("Group.list"), snapshotOf),
      read: (id) => Effect.map(read("Group.read", one(id)), (found) => find(found, id)),
      turn: (id, token) =>
        Effect.map(read("Group.turn"), (found) => {
          const entries = shown(found)
          return {
            own: Option.fromNullishOr(entries.find((entry) => entry.id === id)),
            ahead: Option.fromNullishOr(entries.findLast((entry) => entry.token < token)),
            revision: found.revision
          }
        }),
      create: (session, id, value) =>
        Effect.map(register("Group.create", session, id, value), ({ token, version }) => ({
          _tag: "Created",
          token,
          version
        })),
      update: ({ id, owner, token, version }, value) =>
        Effect.gen(function* () {
          const before = Option.getOrUndefined(find(yield* read("Group.update", one(id)), id))
          if (owner === undefined || before?.owner !== owner || before.token !== token || before.version !== version) {
            return { _tag: "Refused" } as const
          }
          const after = yield* register("Group.update", owner, id, value)
          return after.token === token
            ? ({ _tag: "Updated", version: after.version } as const)
            : ({ _tag: "Refused" } as const)
        }),
      remove: ({ id, owner }) => {
        const serviceId = serviceIdOf(service, id)
        return Effect.suspend(() => {
          if (registered.get(serviceId)?.session === owner) registered.delete(serviceId)
          return deregister("Group.remove", serviceId, owner)
        })
      }
    }
  }

  return {
    group,
    opened: (session, ttlMillis) => void ttls.set(session, ttlMillis),
    pass: (session) =>
      Effect.forEach(
        Array.from(registered).filter(([, { renewed, session: of }]) => renewed && of === session),
        ([serviceId]) =>
          requests
            .agent(
              "Session.renew",
              {
                method: "PUT",
                path: `/agent/check/pass/${encodeURIComponent(`service:${serviceId}`)}`,
                effects: "read"
              },
              [200]
            )
            // An agent that has forgotten it tells whoever follows it.
            .pipe(Effect.ignore({ log: "Debug" })),
        { concurrency: 16, discard: true }
      ),
    forget: (session) =>
      Effect.suspend(() => {
        ttls.delete(session)
        const mine = Array.from(registered).filter(([, { session: of }]) => of === session)
        for (const [serviceId] of mine) registered.delete(serviceId)
        return Effect.forEach(mine, ([serviceId]) => deregister("Session.revoke", serviceId, session), {
          concurrency: 16,
          discard: true
        })
      })
  }
}

/** Processes on a real Consul, each behind a network of its own. */
import { Effect } from "effect"
import type { Conformance } from "effect-ensemble/testing"
import * as Client from "../../../src/engines/consul/client.ts"
import * as Endpoints from "../../../src/engines/consul/endpoints.ts"
import * as Transport from "../../../src/engines/consul/transport.ts"
import * as Coordinators from "../../../src/internal/coordinator.ts"
import type { Consul } from "../../servers/consul.ts"
import { demand } from "../../servers/consul.ts"
import * as Nodes from "../nodes.ts"
import * as Weather from "./weather.ts"

/** Long enough that a pause of this process does not end a session by itself. */
export const ttlMillis = 5_000

/**
 * What can be struck on Consul: it has no events to lose or to send twice and no history to compact, readings are of the leader, and its
 * catalog replaces a registration without asking.
 */
export const withoutOwnServer = new Set<Conformance.Capability>(Nodes.usual)

let cases = 0

interface Pair {
  readonly Key: string
}

interface Service {
  readonly Service: string
  readonly Meta: Readonly<Record<string, string>>
}

interface Group {
  readonly kind: string
  readonly name: string
}

/** A case of its own on a server that others may use at the same time: the prefix keeps them apart. */
export const makeHarness = (consul: Consul) =>
  Effect.gen(function* () {
    const prefix = `case-${++cases}`
    const serviceOf = (name: string) => `${prefix}-${name}`
    const asked = demand(consul.ask)
    const nodes = yield* Nodes.make(consul.members[0], Weather.make)

    const process = nodes.process((proxy, weather, node, options) => {
      const addresses = Endpoints.parse({ endpoints: proxy.url })
      if ("problem" in addresses) return Effect.die(addresses.problem)
      const connect = Effect.fnUntraced(function* ({ requestMillis }: { readonly requestMillis: number }) {
        const transport = weather.over(yield* Transport.own(addresses))
        return yield* Client.make(transport, { prefix, endpoint: proxy.url, requestMillis, serviceOf })
      })
      return Coordinators.make(Client.facts(proxy.url, 1_000), connect, { ...options, node, ttl: ttlMillis })
    })

    const key = ({ kind, name }: Group, id: string) =>
      kind === "barrier" ? `${prefix}/${name}/${id}` : `${prefix}/${kind}/${name}/${id}`
    /** Where it stands, as `kind/group/id`. */
    const memberOf = (key: string) => {
      const rest = key.slice(prefix.length + 1)
      return rest.split("/").length === 2 ? `barrier/${rest}` : rest
    }
    /** As a program that knows nothing of this library would. */
    const register = (name: string, id: string, value: string) =>
      asked("PUT", "/agent/service/register", JSON.stringify({ ID: id, Name: serviceOf(name), Tags: [value] }))

    const faults: Conformance.Harness["faults"] = {
      ...nodes.faults,
      expireSession: (node) =>
        Effect.suspend(() =>
          Effect.forEach(
            Array.from(nodes.weather(node).sessions),
            (session) => Effect.ignore(asked("PUT", `/session/destroy/${session}`)),
            { discard: true }
          )
        ),
      remove: (group, id) =>
        Effect.orDie(
          Effect.asVoid(
            group.kind === "discovery"
              ? asked("PUT", `/agent/service/deregister/${serviceOf(group.name)}:${id}`)
              : asked("DELETE", `/kv/${key(group, id)}`)
          )
        ),
      put: (group, id, value) =>
        Effect.orDie(
          Effect.asVoid(
            group.kind === "discovery"
              ? register(group.name, id, value)
              : Effect.andThen(asked("DELETE", `/kv/${key(group, id)}`), asked("PUT", `/kv/${key(group, id)}`, value))
          )
        ),
      backup: Effect.orDie(Effect.map(consul.backup, (backup) => ({ restore: Effect.orDie(consul.restore(backup)) }))),
      rewind: ({ restore }) => restore
    }

    const harness: Conformance.Harness = {
      ttlMillis,
      process,
      advance: (time) => Effect.sleep(Math.max(20, time)),
      faults,
      truth: Effect.orDie(
        Effect.gen(function* () {
          const pairs = yield* consul.ask("GET", `/kv/${prefix}/?recurse&consistent`)
          const keys = pairs.status === 404 ? [] : (JSON.parse(pairs.text) as ReadonlyArray<Pair>)
          const services = JSON.parse((yield* asked("GET", "/agent/services")).text) as Record<string, Service>
          return {
            members: [
              ...keys.map(({ Key }) => memberOf(Key)),
              ...Object.values(services).flatMap(({ Meta, Service }) =>
                Service.startsWith(`${prefix}-`)
                  ? [`discovery/${Service.slice(prefix.length + 1)}/${Meta["ensemble-id"]}`]
                  : []
              )
            ],
            watches: nodes.all.reduce((sum, weather) => sum + weather.watches, 0)
          }
        })
      ),
      requests: nodes.requests,
      // A point costs a fresh store's worth of requests here, and all of them are swept on the embedded engine.
      stride: 7
    }
    return harness
  })

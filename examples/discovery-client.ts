/** A client that follows the servers of a service: told of each one that comes or goes, and never asking for a request. */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Exit, Scope, Stream, SubscriptionRef } from "effect"
import { Discovery, Memory } from "effect-ensemble"

const Api = Discovery.make("api")

/** Prints the changes, for as long as the scope is open: here a pool would open and close its connections. */
const follow = Discovery.changes(Api).pipe(
  Stream.runForEach(({ _tag, member }) => Console.log(`${_tag.padEnd(7)} ${member.id} at port ${member.value.port}`)),
  Effect.forkScoped
)

/** Picks a server for each request, in turn, from memory. */
const makePick = Effect.gen(function* () {
  const instances = yield* Discovery.view(Api)
  let turn = 0
  return Effect.gen(function* () {
    const { freshness, members } = yield* SubscriptionRef.get(instances)
    const picked = members[turn++ % members.length]
    const known = freshness._tag === "Fresh" ? "" : " (the last known one: the store cannot be seen)"
    yield* Console.log(picked === undefined ? "request: nobody there" : `request: ${picked.id}${known}`)
  })
})

// Servers and client are processes of one program here; elsewhere each of them has its engine's layer.
const program = Effect.gen(function* () {
  const store = yield* Memory.makeStore()
  const client = yield* Memory.makeProcess(store, { node: "client" })
  const first = yield* Memory.makeProcess(store, { node: "api-1" })
  const second = yield* Memory.makeProcess(store, { node: "api-2" })

  yield* client.run(follow)
  const request = yield* client.run(makePick)
  yield* request

  yield* first.run(Discovery.register(Api, { address: "10.0.0.1", port: 8081 }))
  const life = yield* Scope.make()
  yield* second.run(Discovery.register(Api, { address: "10.0.0.2", port: 8082 })).pipe(Scope.provide(life))
  yield* client.run(Discovery.awaitInstances(Api, { minimum: 2 }))
  yield* request
  yield* request

  yield* Scope.close(life, Exit.void)
  yield* client.run(
    Discovery.watch(Api).pipe(
      Stream.takeUntil((view) => view.size === 1),
      Stream.runDrain
    )
  )
  yield* request
  yield* request
})

program.pipe(Effect.scoped, NodeRuntime.runMain)

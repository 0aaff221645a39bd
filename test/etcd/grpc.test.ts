import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Endpoints from "../../src/engines/etcd/endpoints.ts"
import * as Grpc from "../../src/engines/etcd/grpc.ts"
import { RpcError } from "../../src/engines/etcd/rpc.ts"

/** Nobody listens there. */
const nowhere = Endpoints.parse({ endpoints: "http://127.0.0.1:1" })

describe("a call", () => {
  it.live("leaves this process's errors their stacks", () =>
    Effect.gen(function* () {
      if ("problem" in nowhere) return yield* Effect.die(nowhere.problem)
      const transport = yield* Grpc.own(nowhere)
      const link = yield* transport.dial(undefined)
      const before = Error.stackTraceLimit
      assert.isAbove(before, 0)
      const within = yield* Effect.callback<number>((resume) => {
        link.unaryUnsafe("range", { key: Buffer.from("a") }, (answer) => {
          assert(answer instanceof RpcError)
          resume(Effect.succeed(Error.stackTraceLimit))
        })
        assert.strictEqual(Error.stackTraceLimit, before)
      })
      assert.strictEqual(within, before)
      link.closeUnsafe()
      // Over a connection that is closed already, a call fails at once.
      link.unaryUnsafe("range", { key: Buffer.from("a") }, () => {})
      assert.strictEqual(Error.stackTraceLimit, before)
    }).pipe(Effect.scoped)
  )
})

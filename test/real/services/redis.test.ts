import { describe } from "@effect/vitest"
import { Effect } from "effect"
import { Redis } from "effect-ensemble/services/redis"
import * as Servers from "../../servers/redis.ts"
import * as Kit from "./kit.ts"

// Both have to arrive as they are, and the one in the address must not win.
const password = "right%2F:secret@"
const url = (port: number) => `redis://:other-secret@127.0.0.1:${port}/3`

describe("Redis", () => {
  Kit.cases<Redis.Redis>({
    name: "redis",
    serve: Kit.behind(Servers.single({ password })),
    layer: (port, bounds) => Redis.layer({ url: url(port), password, ...bounds }),
    health: Redis.health,
    operate: Redis.Redis.use(({ use }) =>
      Effect.andThen(
        use((client) => client.set("key", "value")),
        use((client, signal) => client.withAbortSignal(signal).get("key"))
      )
    ),
    refused: (port, bounds) => Redis.layer({ url: url(port), password: "wrong-secret", ...bounds }),
    configured: (prefix) => Redis.layerConfig(Redis.config(prefix)),
    variables: (port, prefix) => ({ [`${prefix}_URI`]: url(port), [`${prefix}_PASSWORD`]: password }),
    unusable: (port, prefix) => ({
      [`${prefix}_URI`]: `http://127.0.0.1:${port}`,
      [`${prefix}_TIMEOUT_CONNECT`]: "soon"
    }),
    program: "redis.ts"
  })
})

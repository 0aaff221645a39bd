import { describe } from "@effect/vitest"
import { Effect } from "effect"
import { Sql } from "effect-ensemble/services/sql"
import * as Servers from "../../servers/postgres.ts"
import * as Kit from "./kit.ts"

const password = "right-secret"
const url = (port: number) => `postgres://postgres@127.0.0.1:${port}/postgres?sslmode=disable`

describe("Sql", () => {
  Kit.cases<Sql.Sql>({
    name: "sql",
    serve: Kit.behind(Servers.single({ password })),
    layer: (port, bounds) => Sql.layer({ url: url(port), password, ...bounds }),
    health: Sql.health,
    operate: Sql.Sql.use(({ use }) =>
      use((sql, signal) => Effect.runPromise(sql`SELECT ${"value"}::text AS value`, { signal }))
    ),
    refused: (port, bounds) => Sql.layer({ url: url(port), password: "wrong-secret", ...bounds }),
    configured: (prefix) => Sql.layerConfig(Sql.config(prefix)),
    variables: (port, prefix) => ({ [`${prefix}_ADDR`]: url(port), [`${prefix}_PASSWORD`]: password }),
    unusable: (port, prefix) => ({
      [`${prefix}_ADDR`]: `postgres://postgres@127.0.0.1:${port}/postgres?sslmode=perhaps`,
      [`${prefix}_DRIVER`]: "oracle",
      [`${prefix}_MAX_OPEN_CONNS`]: "0",
      [`${prefix}_CONN_MAX_LIFETIME`]: "long"
    }),
    program: "sql.ts"
  })
})

/** The table of services in the README says what the services read: it is compared with what they declare. */
import { assert, describe, it } from "@effect/vitest"
import { Cassandra } from "effect-ensemble/services/cassandra"
import { Elasticsearch } from "effect-ensemble/services/elasticsearch"
import { Kafka } from "effect-ensemble/services/kafka"
import { Memcached } from "effect-ensemble/services/memcached"
import { Nats } from "effect-ensemble/services/nats"
import { Redis } from "effect-ensemble/services/redis"
import { Sql } from "effect-ensemble/services/sql"
import { readFileSync } from "node:fs"
import * as Bounds from "../../src/services/kit/bounds.ts"
import { variablesOf } from "../../src/services/kit/settings.ts"
import type { Setting } from "../../src/services/kit/setting.ts"

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8")

const common: ReadonlyArray<Setting<unknown>> = Object.values(Bounds.table())

const written = ({ shown, variable }: Setting<unknown>): string =>
  `\`${variable}${shown === undefined ? "" : `=${shown}`}\``

const services = [
  ["memcached", Memcached.config("X")],
  ["redis", Redis.config("X")],
  ["cassandra", Cassandra.config("X")],
  ["nats", Nats.config("X")],
  ["kafka", Kafka.config("X")],
  ["elasticsearch", Elasticsearch.config("X")],
  ["sql", Sql.config("X")]
] as const

describe("the README's table of services", () => {
  it("names the variables of all of them", () => {
    assert.include(readme, common.map(written).join(", "))
  })

  for (const [name, config] of services) {
    it(`names the variables of ${name}, with their defaults`, () => {
      const row = readme.split("\n").find((line) => line.includes(`effect-ensemble/services/${name}\``))
      assert.match(row ?? "", /^\| [A-Za-z]+ \|/)
      const own = variablesOf(config)
        .map(({ setting }) => setting)
        // A bound with another default than usual is the service's own affair.
        .filter((setting) => !common.some((one) => written(one) === written(setting)))
      assert.include(row, ` ${own.map(written).join(", ")} |`)
    })
  }
})

/** The settings that every engine has, as configuration. */
import * as Config from "effect/Config"
import * as Option from "effect/Option"
import type { Options } from "../Coordinator.ts"

/** A setting that may be left out. */
export const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

export const coordinatorConfig: Config.Config<Options> = Config.all({
  node: optional(Config.String("NODE")),
  ttl: optional(Config.Duration("TTL")),
  requestTimeout: optional(Config.Duration("REQUEST_TIMEOUT")),
  connect: optional(Config.Literals(["wait", "background"], "CONNECT")),
  connectTimeout: optional(Config.Duration("CONNECT_TIMEOUT"))
})

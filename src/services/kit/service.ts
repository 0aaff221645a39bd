/** The class of a service: a tag of its own for each instance, with its layers. */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Resolved as Bounds } from "./bounds.ts"
import type { Adapter, Running } from "./connection.ts"
import * as Connection from "./connection.ts"
import type { ServiceMisconfigured, ServiceUnavailable } from "./errors.ts"
import type { Settings } from "./settings.ts"

/**
 * A service under a tag of its own.
 *
 * **Details**
 *
 * - `layer` starts it with options, `layerConfig` with what a configuration holds, and both stop it with their scope.
 * - `health` is for its policy: `Maestro.service(Cache.layer(), "cache", { health: Cache.health })`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<
  in out Self,
  in out Key extends string,
  in out Client,
  in Options
> extends Context.ServiceClass<Self, Key, Running<Client>> {
  readonly layer: (options?: Options) => Layer.Layer<Self, ServiceUnavailable | ServiceMisconfigured>
  readonly layerConfig: (config: Config.Wrap<Options>) => Layer.Layer<Self, ServiceUnavailable | ServiceMisconfigured>
  readonly health: Effect.Effect<void, ServiceUnavailable, Self>
}

/** What a service's module is made of. */
export interface Kind<Options, out Client> {
  readonly make: (
    name: string,
    options: Options
  ) => Effect.Effect<Running<Client>, ServiceUnavailable | ServiceMisconfigured, Scope.Scope>
  readonly config: (prefix: string) => Config.Config<Options>
  readonly load: Settings<Options, unknown>["load"]
}

export const kind = <Options extends object, Resolved extends Bounds & Options, Client>(
  settings: Settings<Options, Resolved>,
  adapter: Adapter<Resolved, Client>
): Kind<Options, Client> => ({
  make: (name, options) =>
    Effect.flatMap(settings.resolve(name, options), (resolved) => Connection.start(adapter, name, resolved)),
  config: settings.config,
  load: settings.load
})

/** Gives a tag its layers. Its own key is part of the type, so two services never stand in for one another. */
export const define = <Self, const Key extends string, Options extends object, Client>(
  { load, make }: Kind<Options, Client>,
  key: Key,
  name: string
): ServiceClass<Self, Key, Client, Options> => {
  const Tag = Context.Service<Self, Running<Client>>()(key)
  return Object.assign(Tag, {
    // Every setting has a default, so no options are options.
    layer: (options: Options = {} as Options) => Layer.effect(Tag, make(name, options)),
    layerConfig: (config: Config.Wrap<Options>) =>
      Layer.effect(
        Tag,
        Effect.flatMap(load(name, config), (options) => make(name, options))
      ),
    health: Effect.flatMap(Tag, ({ health }) => health)
  })
}

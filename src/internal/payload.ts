/** Values between a recipe's schema and the strings that a group speaks, the same way in every recipe. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Group from "../Group.ts"
import { PayloadRejected } from "../Membership.ts"

/** A schema's two directions. `encode` takes the group's label, for the message of the error. */
export interface Codec<A> {
  readonly encode: (group: string, value: A) => Effect.Effect<string, PayloadRejected>
  readonly decode: Group.Decoder<A>
}

const make = <A>(
  encode: (value: A) => Effect.Effect<string, Schema.SchemaError>,
  decode: (raw: string) => Exit.Exit<A, unknown>
): Codec<A> => ({
  encode: (group, value) =>
    Effect.mapError(encode(value), (error) => new PayloadRejected({ group, detail: error.message })),
  decode: Group.makeDecoder((raw) => {
    const exit = decode(raw)
    if (exit._tag === "Success") return { value: exit.value }
    // A defect too: what somebody else wrote, or a schema that cannot decode at once, must not end this reader.
    const reason = Cause.squash(exit.cause)
    return { detail: reason instanceof Error ? reason.message : String(reason) }
  })
})

/**
 * The codec of a schema. Make one for each definition and keep it: its decoder remembers what it decoded, so that a
 * member costs one decoding however many views and readers it is in.
 */
export const codec = <A>(schema: Schema.Codec<A, string>): Codec<A> =>
  make(Schema.encodeEffect(schema), Schema.decodeUnknownExit(schema))

const parse = (raw: string): Exit.Exit<unknown, unknown> => {
  try {
    return Exit.succeed(JSON.parse(raw))
  } catch (error) {
    return Exit.fail(error)
  }
}

/**
 * The codec of a schema over a JSON document. Half the cost of `codec(Schema.fromJsonString(schema))`, which every change
 * of a group pays. `tolerate` mends what other writers leave out, before the schema sees it.
 */
export const json = <A, E>(schema: Schema.Codec<A, E>, tolerate: (parsed: unknown) => unknown): Codec<A> => {
  const encode = Schema.encodeEffect(schema)
  const decode = Schema.decodeUnknownExit(schema)
  return make(
    (value) => Effect.map(encode(value), (encoded) => JSON.stringify(encoded)),
    (raw) => {
      const parsed = parse(raw)
      return parsed._tag === "Success" ? decode(tolerate(parsed.value)) : Exit.failCause(parsed.cause)
    }
  )
}

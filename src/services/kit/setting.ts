/** The kinds of settings: what a variable may hold, what an option may be given, and both in words. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/** One setting, whose value is an `A` once it has been checked. */
export interface Setting<out A> {
  /** The variable's name, behind the prefix. */
  readonly variable: string
  /** What it is for, in a few words. */
  readonly about: string
  /** The form that is expected, as the end of a sentence. */
  readonly expected: string
  readonly fallback: A
  /** The default as it is shown. */
  readonly shown: string | undefined
  readonly secret: boolean
  /** Reads what a variable holds. */
  readonly fromText: (text: string) => Option.Option<A>
  /** Checks what an option was given. */
  readonly fromOption: (input: unknown) => Option.Option<A>
}

interface About<A> {
  readonly about: string
  readonly default: A
}

/** A setting that is written in a variable as in an option, or as a text that the schema decodes. */
const setting = <A, I>(
  variable: string,
  { about, default: fallback }: About<A>,
  form: { readonly expected: string; readonly text: Schema.Codec<A, string>; readonly input: Schema.Codec<A, I> },
  show: (value: A) => string = String
): Setting<A> => ({
  variable,
  about,
  expected: form.expected,
  fallback,
  shown: fallback === undefined ? undefined : show(fallback),
  secret: false,
  fromText: Schema.decodeOption(form.text),
  fromOption: Schema.decodeUnknownOption(form.input)
})

/** Leaves a setting out by default. */
export const optional = <A>(self: Setting<A>): Setting<A | undefined> => ({
  ...self,
  fallback: undefined,
  shown: undefined
})

/** A text that is not empty. */
export const text = (variable: string, about: About<string>): Setting<string> =>
  setting(variable, about, {
    expected: "a text that is not empty",
    text: Schema.NonEmptyString,
    input: Schema.NonEmptyString
  })

/** A password or a key. It is never shown. */
export const secret = (variable: string, about: string): Setting<Redacted.Redacted<string> | undefined> => ({
  variable,
  about,
  expected: "a text that is not empty",
  fallback: undefined,
  shown: undefined,
  secret: true,
  fromText: (given) => (given === "" ? Option.none() : Option.some(Redacted.make(given))),
  fromOption: (given) => {
    const value = Redacted.isRedacted(given) ? Redacted.value(given) : given
    return typeof value === "string" && value !== "" ? Option.some(Redacted.make(value)) : Option.none()
  }
})

/** A whole number within bounds. */
export const integer = (
  variable: string,
  about: About<number> & { readonly minimum: number; readonly maximum?: number | undefined }
): Setting<number> => {
  const { maximum = Number.MAX_SAFE_INTEGER, minimum } = about
  const number = Schema.Int.check(Schema.isBetween({ minimum, maximum }))
  return setting(variable, about, {
    expected: `a whole number of ${minimum} ${about.maximum === undefined ? "or more" : `to ${maximum}`}`,
    text: Schema.FiniteFromString.pipe(Schema.decodeTo(number)),
    input: number
  })
}

/** One of a few words. */
export const oneOf = <const Words extends ReadonlyArray<string>>(
  variable: string,
  words: Words,
  about: About<NoInfer<Words[number]>>
): Setting<Words[number]> => {
  const schema = Schema.Literals(words)
  return setting<Words[number], Words[number]>(variable, about, {
    expected: `one of ${words.join(", ")}`,
    text: Schema.String.pipe(Schema.decodeTo(schema)) as Schema.Codec<Words[number], string>,
    input: schema
  })
}

/** What people write for yes and no in variables. */
const yes = new Set(["true", "1", "yes", "on"])
const no = new Set(["false", "0", "no", "off"])

export const boolean = (variable: string, { about, default: fallback }: About<boolean>): Setting<boolean> => ({
  variable,
  about,
  expected: "true or false",
  fallback,
  shown: String(fallback),
  secret: false,
  fromText: (given) => {
    const word = given.trim().toLowerCase()
    return yes.has(word) ? Option.some(true) : no.has(word) ? Option.some(false) : Option.none()
  },
  fromOption: (given) => (typeof given === "boolean" ? Option.some(given) : Option.none())
})

/** The units of Go's durations, in milliseconds: the ancestors of these settings were written so. */
const goUnits: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 }
const goPart = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g
const goDuration = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/

const durationFromText = (given: string): Option.Option<Duration.Duration> => {
  const written = given.trim()
  if (!goDuration.test(written)) return Option.flatMap(Schema.decodeOption(Schema.DurationFromString)(written), usable)
  let millis = 0
  for (const [, amount, unit = ""] of written.matchAll(goPart)) millis += Number(amount) * (goUnits[unit] ?? Number.NaN)
  return usable(Duration.millis(millis))
}

/** Timers take no infinite, no negative and no empty ones. */
const usable = (duration: Duration.Duration): Option.Option<Duration.Duration> =>
  Duration.isFinite(duration) && Duration.toMillis(duration) > 0 ? Option.some(duration) : Option.none()

/** A finite, positive duration: as Effect writes it ("2 seconds"), or as Go does ("2s", "1m30s"). */
export const duration = (
  variable: string,
  { about, default: standard }: { readonly about: string; readonly default: Duration.Input }
): Setting<Duration.Duration> => {
  const fallback = Duration.fromInputUnsafe(standard)
  return {
    variable,
    about,
    expected: 'a positive duration, such as "2 seconds" or "1m30s"',
    fallback,
    shown: Duration.format(fallback),
    secret: false,
    fromText: durationFromText,
    // `fromInput` takes anything that a program can write as a duration, and refuses the rest.
    fromOption: (given) =>
      typeof given === "string"
        ? durationFromText(given)
        : Option.flatMap(Duration.fromInput(given as Duration.Input), usable)
  }
}

const host = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)$/

/** `host:port`, with the port filled in where it is left out. */
export const toAddress = (given: string, defaultPort: number): Option.Option<string> => {
  const written = given.trim()
  const colon = written.lastIndexOf(":")
  const hasPort = colon > written.lastIndexOf("]") && colon >= 0
  const name = hasPort ? written.slice(0, colon) : written
  const port = hasPort ? written.slice(colon + 1) : String(defaultPort)
  const valid = host.test(name) && /^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65535
  return valid ? Option.some(`${name}:${port}`) : Option.none()
}

/** One or more `host:port`, with commas between them in a variable. */
export const addresses = (variable: string, about: string, defaultPort: number): Setting<ReadonlyArray<string>> => {
  const check = (given: ReadonlyArray<unknown>): Option.Option<ReadonlyArray<string>> => {
    const found = given.map((one) => (typeof one === "string" ? toAddress(one, defaultPort) : Option.none()))
    return found.length === 0 ? Option.none() : Option.all(found)
  }
  const fallback = [`localhost:${defaultPort}`]
  return {
    variable,
    about,
    expected: `one or more addresses as host:port, with commas between them`,
    fallback,
    shown: fallback.join(","),
    secret: false,
    fromText: (given) => check(given.split(",")),
    fromOption: (given) =>
      Array.isArray(given) ? check(given) : typeof given === "string" ? check(given.split(",")) : Option.none()
  }
}

/**
 * `scheme://user:password@host:port/path?parameters`. Whatever stands before the last `@` counts as secret, also where a password
 * with a stroke in it should have been escaped.
 */
const form =
  /^([a-z][a-z0-9+.-]*):\/\/(?:.*@)?((?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::\d{1,5})?)(\/[^?#@]*)?(?:[?#].*)?$/i

/** An address without what must not be shown: user, password, and parameters, which may hold either. */
export const withoutSecrets = (url: string): string => {
  const [, scheme, where, path = ""] = form.exec(url) ?? []
  return where === undefined ? "an address that cannot be read" : `${scheme}://${where}${path === "/" ? "" : path}`
}

/** An address that may carry a password, so it is kept as a secret and shown without. */
export const url = (
  variable: string,
  { about, default: standard, protocols }: About<string> & { readonly protocols: ReadonlyArray<string> }
): Setting<Redacted.Redacted<string>> => {
  const check = (given: string): Option.Option<Redacted.Redacted<string>> =>
    form.test(given) && protocols.some((protocol) => given.startsWith(`${protocol}://`))
      ? Option.some(Redacted.make(given))
      : Option.none()
  return {
    variable,
    about,
    expected: `an address that begins with ${protocols.map((protocol) => `${protocol}://`).join(" or ")}`,
    fallback: Redacted.make(standard),
    shown: withoutSecrets(standard),
    secret: true,
    fromText: check,
    fromOption: (given) => {
      const value = Redacted.isRedacted(given) ? Redacted.value(given) : given
      return typeof value === "string" ? check(value) : Option.none()
    }
  }
}

/** A list of words, with commas between them in a variable. */
export const words = (
  variable: string,
  { about, default: fallback }: About<ReadonlyArray<string>>
): Setting<ReadonlyArray<string>> => {
  const check = (given: ReadonlyArray<unknown>): Option.Option<ReadonlyArray<string>> => {
    const found = given.filter((one): one is string => typeof one === "string").map((one) => one.trim())
    return found.length === given.length && !found.includes("") ? Option.some(found) : Option.none()
  }
  return {
    variable,
    about,
    expected: "a list of words, with commas between them",
    fallback,
    shown: fallback.length === 0 ? undefined : fallback.join(","),
    secret: false,
    fromText: (given) => check(given.split(",")),
    fromOption: (given) => (Array.isArray(given) ? check(given) : Option.none())
  }
}

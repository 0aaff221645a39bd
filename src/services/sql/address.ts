/** Addresses of PostgreSQL, as its own programs read them. */
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Setting from "../kit/setting.ts"

export interface Address {
  readonly host: string
  readonly port: number
  /** A socket in the file system, where the host is a folder. */
  readonly path: string | undefined
  readonly username: string
  readonly password: Redacted.Redacted<string> | undefined
  readonly database: string
  /** Without TLS whatever else is set. */
  readonly isPlain: boolean
}

const protocols = ["postgres", "postgresql"]
const standardPort = "5432"
const standardUser = "postgres"
/** https://www.postgresql.org/docs/current/libpq-ssl.html */
const sslModes = new Set<string | null>([null, "disable", "allow", "prefer", "require", "verify-ca", "verify-full"])

const decoded = (text: string): Option.Option<string> => {
  try {
    return Option.some(decodeURIComponent(text))
  } catch {
    return Option.none()
  }
}

const parse = (written: string): Option.Option<Address> => {
  const { hostname, password, pathname, port: urlPort, searchParams, username } = new URL(written)
  const sslMode = searchParams.get("sslmode")
  const port = Number(searchParams.get("port") ?? (urlPort || standardPort))
  if (!sslModes.has(sslMode) || !Number.isInteger(port) || port < 1 || port > 65535) {
    return Option.none()
  }
  return Option.map(
    Option.all([decoded(hostname), decoded(username), decoded(password), decoded(pathname.slice(1))]),
    ([hostInUrl, userInUrl, secret, databaseInUrl]) => {
      const host = searchParams.get("host") ?? hostInUrl.replace(/^\[(.*)\]$/, "$1")
      const user = searchParams.get("user") ?? (userInUrl || standardUser)
      return {
        host,
        port,
        path: host.startsWith("/") ? `${host}/.s.PGSQL.${port}` : undefined,
        username: user,
        password: secret === "" ? undefined : Redacted.make(secret),
        // As the server does it.
        database: searchParams.get("dbname") ?? (databaseInUrl || user),
        isPlain: sslMode === "disable"
      }
    }
  )
}

/** The parts of an address that was checked. */
export const read = (url: Redacted.Redacted<string>): Address => Option.getOrThrow(parse(Redacted.value(url)))

export const inWords = (url: Redacted.Redacted<string>): string => {
  const { database, host, path, port } = read(url)
  const where = path ?? `//${host.includes(":") ? `[${host}]` : host}:${port}`
  return `postgres:${where}/${database}`
}

/** An address with all of its parts readable. */
export const setting = (
  variable: string,
  about: { readonly about: string; readonly default: string }
): Setting.Setting<Redacted.Redacted<string>> => {
  const url = Setting.url(variable, { ...about, protocols })
  const check = Option.filter((given: Redacted.Redacted<string>) => Option.isSome(parse(Redacted.value(given))))
  return {
    ...url,
    expected: `${url.expected}, with a known sslmode if any`,
    fromText: (given) => check(url.fromText(given)),
    fromOption: (given) => check(url.fromOption(given))
  }
}

/**
 * One address of a Memcached, made safe to lose.
 *
 * What `memcache` 1.10.0 gives for an address keeps one object for all of its connections, and is not fit for that. Calls that find it
 * unconnected connect each for itself, and all sockets but the last are left open. Half an answer that a lost connection left behind
 * is put before the first of the next, so that a read is given the value of another key. Its time limit closes connections that are
 * merely idle. So here a connection is one such object, opened once for all who wait for it and never used again.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { MemcacheNode } from "memcache"
import type { Calls } from "../kit/calls.ts"
import { promise } from "../kit/connection.ts"
import { isOutOfTime } from "../kit/outOfTime.ts"

export interface Settings {
  /** How long an answer may take, and the opening of a connection. */
  readonly timeout: Duration.Duration
  /** Commands that are bounded by it. */
  readonly answers: Calls
  readonly tls: boolean
  readonly login: Login | undefined
}

export interface Login {
  readonly username: string
  readonly password: Redacted.Redacted<string>
}

class ConnectionClosed extends Error {
  override readonly name = "ConnectionClosed"
}

type CommandOptions = Parameters<MemcacheNode["command"]>[1]

export class Node extends MemcacheNode {
  readonly #settings: Settings
  /** The newest connection, in whatever state it is. */
  #link: MemcacheNode | undefined
  /** The same, once it may be used. */
  #ready: MemcacheNode | undefined
  #opening: Promise<void> | undefined
  #isEnded = false

  constructor(host: string, port: number, settings: Settings) {
    super(host, port)
    this.#settings = settings
  }

  override get socket(): MemcacheNode["socket"] {
    return this.#link?.socket
  }

  override get commandQueue(): MemcacheNode["commandQueue"] {
    return this.#link?.commandQueue ?? []
  }

  override isConnected(): boolean {
    return this.#ready?.isConnected() ?? false
  }

  override connect(): Promise<void> {
    if (this.#isEnded) return Promise.reject(new ConnectionClosed(`The connection to ${this.id} has been closed`))
    if (this.isConnected()) return Promise.resolve()
    this.#opening ??= Effect.runPromise(this.#open).finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  override command(command: string, options?: CommandOptions): Promise<unknown> {
    const link = this.#ready
    if (link === undefined) return Promise.reject(new ConnectionClosed(`There is no connection to ${this.id}`))
    return Effect.runPromise(this.#ask(link, command, options))
  }

  override quit(): Promise<void> {
    return this.#ready?.quit() ?? Promise.resolve()
  }

  override disconnect(): Promise<void> {
    this.#cut(this.#link)
    return Promise.resolve()
  }

  override reconnect(): Promise<void> {
    return this.disconnect().then(() => this.connect())
  }

  /** Cuts the connection, and lets nobody open another. */
  end(): void {
    this.#isEnded = true
    this.#cut(this.#link)
  }

  /** A connection is told to be closed some time after it was cut, and must not be used by then. */
  #cut(link: MemcacheNode | undefined): void {
    if (this.#ready === link) this.#ready = undefined
    link?.socket?.destroy()
  }

  readonly #open: Effect.Effect<void, unknown> = Effect.suspend(() => {
    const { timeout, tls } = this.#settings
    const link = new MemcacheNode(this.host, this.port, { timeout: Duration.toMillis(timeout), tls })
    this.#link = link
    for (const event of ["close", "error", "hit", "miss", "timeout"]) {
      link.on(event, (...told: ReadonlyArray<unknown>) => void this.emit(event, ...told))
    }
    return Effect.raceFirst(
      promise(() => link.connect()),
      this.#closed(link)
    ).pipe(
      Effect.andThen(this.#login(link)),
      Effect.andThen(
        Effect.sync(() => {
          // From here on each command has a limit of its own, and a connection that is idle has none.
          link.socket?.setTimeout(0)
          this.#ready = link
          this.emit("connect")
        })
      ),
      Effect.onError(() => Effect.sync(() => this.#cut(link)))
    )
  })

  /** A socket that is destroyed while it is being connected says no more than that it was closed. */
  #closed(link: MemcacheNode): Effect.Effect<never, unknown> {
    return Effect.callback<never, unknown>((resume) => {
      link.once("close", () => resume(Effect.fail(new ConnectionClosed(`The connection to ${this.id} was closed`))))
    })
  }

  /** The login of the text protocol: a `set` of any key, before all else. */
  #login(link: MemcacheNode): Effect.Effect<unknown, unknown> {
    const { login } = this.#settings
    if (login === undefined) return Effect.void
    const words = `${login.username} ${Redacted.value(login.password)}`
    return this.#ask(link, `set login 0 0 ${new TextEncoder().encode(words).length}\r\n${words}`)
  }

  /**
   * Answers come in the order of the commands. Where one is missing, all that would come later are, so the connection is cut, and
   * everyone who waits is told.
   */
  #ask(link: MemcacheNode, command: string, options?: CommandOptions): Effect.Effect<unknown, unknown> {
    return this.#settings.answers.make<unknown, unknown>(
      () => link.command(command, options),
      false,
      (cause) => {
        if (!isOutOfTime(cause)) return cause
        this.#cut(link)
        return new Error(`${this.id} did not answer within ${Duration.format(this.#settings.timeout)}`)
      }
    )
  }
}

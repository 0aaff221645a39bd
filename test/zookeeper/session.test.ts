import { assert, describe, it } from "@effect/vitest"
import {
  AuthFailed,
  ProtocolError,
  Refused,
  SessionClosed,
  SessionExpired,
  Unreachable
} from "../../src/engines/zookeeper/errors.ts"
import type { End } from "../../src/engines/zookeeper/exchange.ts"
import type { Event, Identity, State } from "../../src/engines/zookeeper/session.ts"
import { describe as inWords, initial, transition } from "../../src/engines/zookeeper/session.ts"

const identity: Identity = { sessionId: 7n, password: new Uint8Array(16), timeoutMillis: 4000 }
const handshake = { ...identity, readOnly: false }
const auth = new AuthFailed({ scheme: "digest" })
const unreachable = new Unreachable({ endpoint: "a:1", detail: "refused" })
const refused = new Refused({ endpoint: "a:1" })
const protocol = new ProtocolError({ detail: "garbage" })

const connecting: State = { _tag: "Connecting", identity, attachments: 1, problem: undefined, refusedBy: ["b:1"] }
const attached: State = { _tag: "Attached", identity, attachments: 1, endpoint: "a:1" }
const over = (reason: Extract<State, { readonly _tag: "Over" }>["reason"]): State => ({ _tag: "Over", reason })
const expired = over(new SessionExpired({}))

const attach: Event = { _tag: "Attached", endpoint: "a:1", handshake }
const failed = (failure: Extract<Event, { readonly _tag: "Failed" }>["failure"]): Event => ({
  _tag: "Failed",
  endpoint: "a:1",
  failure
})
const ended = (end: End): Event => ({ _tag: "Ended", end })
const dropped = ended({ _tag: "Dropped", detail: "gone" })
const lost: State = { _tag: "Connecting", identity, attachments: 1, problem: "gone", refusedBy: [] }

const table: ReadonlyArray<readonly [string, State, Event, State]> = [
  ["first handshake", initial, attach, attached],
  ["a further handshake", connecting, attach, { ...attached, attachments: 2 }],
  ["a handshake while attached", attached, attach, attached],
  ["a failed attempt", connecting, failed(unreachable), { ...connecting, problem: unreachable.message }],
  ["a refusal", connecting, failed(refused), { ...connecting, problem: refused.message, refusedBy: ["b:1", "a:1"] }],
  [
    "a server that refused and now does not answer",
    { ...connecting, refusedBy: ["a:1", "b:1"] },
    failed(unreachable),
    { ...connecting, problem: unreachable.message, refusedBy: ["b:1"] }
  ],
  ["garbage at the handshake", connecting, failed(protocol), { ...connecting, problem: protocol.message }],
  ["an expiry told at the handshake", connecting, failed(new SessionExpired({})), expired],
  ["credentials refused at the handshake", connecting, failed(auth), over(auth)],
  ["a late failure while attached", attached, failed(unreachable), attached],
  ["a connection that drops", attached, dropped, lost],
  [
    "a violation",
    attached,
    ended({ _tag: "Violation", error: protocol }),
    { ...lost, problem: protocol.message } as State
  ],
  ["an expiry told on the connection", attached, ended({ _tag: "Expired" }), expired],
  ["credentials refused on the connection", attached, ended({ _tag: "AuthFailed", error: auth }), over(auth)],
  ["an end while connecting", connecting, dropped, connecting],
  ["closing before the first session", initial, { _tag: "Closed" }, over(new SessionClosed({}))],
  ["closing while connecting", connecting, { _tag: "Closed" }, over(new SessionClosed({}))],
  ["closing while attached", attached, { _tag: "Closed" }, over(new SessionClosed({}))],
  ...[attach, failed(unreachable), failed(auth), dropped, { _tag: "Closed" } as const].map(
    (event) => [`${event._tag} after the end`, expired, event, expired] as const
  )
]

describe("the session", () => {
  it.each(table)("%s", (_, before, event, after) => {
    assert.deepStrictEqual(transition(before, event), after)
  })

  it("says every end in words", () => {
    assert.strictEqual(inWords({ _tag: "Dropped", detail: "gone" }), "gone")
    assert.match(inWords({ _tag: "Expired" }), /expired/)
    assert.match(inWords({ _tag: "Violation", error: protocol }), /garbage/)
    assert.match(inWords({ _tag: "AuthFailed", error: auth }), /digest/)
  })
})

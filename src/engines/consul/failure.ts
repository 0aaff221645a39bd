/** What Consul and HTTP say when a request fails, as the reasons that all engines share. */
import type { Reason } from "../../CoordinatorError.ts"
import {
  CoordinatorError,
  Forbidden,
  InvalidOptions,
  NotThisServer,
  OutcomeUnknown,
  TooLarge,
  Unauthenticated,
  Unreachable
} from "../../CoordinatorError.ts"
import type { Effects, HttpAnswer } from "./http.ts"
import { HttpError } from "./http.ts"

/** A body as a message. */
export const textOf = (body: unknown): string => (typeof body === "string" ? body : JSON.stringify(body ?? "")).trim()

/** What a client hears from something that does not speak HTTP, or not over this kind of connection. */
const foreign = /parse error|HPE_|wrong version number|packet length too long|HTTP request to an HTTPS server|EPROTO/i

const certificate = /certificate|self[- ]signed|unable to verify|altnames|handshake failure|unsupported protocol/i

/** Refused before anything was proposed to the quorum. */
const unread = /no cluster leader|not the leader|no known consul servers|rate limit|too many requests/i

/** Whether the answer says that this server cannot serve now, so that another one may do better. */
export const isUnfit = ({ status }: HttpAnswer): boolean => status === 429 || status >= 500

const foreignServer = (detail: string) =>
  new NotThisServer({ detail: `What answers is not Consul, or differs in TLS (http or https): ${detail}` })

const uncertain = (effects: Effects, detail: string, sent: boolean): Reason =>
  effects === "read" || !sent ? new Unreachable({ detail }) : new OutcomeUnknown({ detail })

const reasonOfSilence = (effects: Effects, { detail, sent }: HttpError): Reason => {
  if (foreign.test(detail)) return foreignServer(detail)
  if (certificate.test(detail)) {
    return new NotThisServer({
      detail: `${detail}: the two sides do not agree on TLS, see the certificates in \`tls\``
    })
  }
  return uncertain(effects, detail, sent)
}

const short = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text)

const reasonOfAnswer = (effects: Effects, { body, status }: HttpAnswer): Reason => {
  const text = short(textOf(body))
  const detail = text === "" ? `The answer has the status ${status}` : text
  if (foreign.test(text)) return foreignServer(detail)
  if (status === 401 || /ACL not found/i.test(text)) return new Unauthenticated({ detail })
  if (status === 403 || /permission denied/i.test(text)) return new Forbidden({ detail })
  if (status === 413 || /too large|too many operations/i.test(text)) return new TooLarge({ detail })
  if (status === 400 || /must be between/i.test(text)) return new InvalidOptions({ detail })
  if (status === 429 || unread.test(text)) return new Unreachable({ detail })
  if (status >= 500) return uncertain(effects, detail, true)
  return foreignServer(`status ${status}, ${detail}`)
}

/** The failure of an operation: no answer, or one that is not the expected. */
export const failureOf = (operation: string, effects: Effects, failure: HttpError | HttpAnswer): CoordinatorError =>
  new CoordinatorError({
    engine: "consul",
    operation,
    endpoint: failure.endpoint,
    reason: failure instanceof HttpError ? reasonOfSilence(effects, failure) : reasonOfAnswer(effects, failure)
  })

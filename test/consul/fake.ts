/** Agents that are scripted: what they are asked is seen, and they answer when the test says so. */
import type { HttpAnswer, HttpRequest, Link, Transport } from "../../src/engines/consul/http.ts"
import { HttpError } from "../../src/engines/consul/http.ts"

type Answered = Partial<HttpAnswer> | HttpError

export interface Agent {
  readonly endpoint: string
  /** What is answered; silence where it returns nothing. */
  answer: (request: HttpRequest) => Answered | Promise<Answered> | undefined
  readonly requests: Array<HttpRequest>
  aborted: number
  idleClosed: number
}

export const agent = (endpoint: string, answer: Agent["answer"]): Agent => ({
  endpoint,
  answer,
  requests: [],
  aborted: 0,
  idleClosed: 0
})

export const lost = (endpoint: string, sent = true) => new HttpError({ endpoint, detail: "socket hang up", sent })

const linkTo = (agent: Agent): Link => ({
  endpoint: agent.endpoint,
  requestUnsafe: (request, answered) => {
    agent.requests.push(request)
    const answer = agent.answer(request)
    let open = true
    const tell = (answer: Answered) => {
      if (!open) return
      open = false
      const { endpoint } = agent
      answered(
        answer instanceof HttpError ? answer : { endpoint, status: 200, index: undefined, body: undefined, ...answer }
      )
    }
    if (answer !== undefined) void Promise.resolve(answer).then(tell)
    return () => {
      if (open) agent.aborted++
      open = false
    }
  },
  closeIdleUnsafe: () => void agent.idleClosed++
})

export const transport = (first: Agent, ...others: ReadonlyArray<Agent>): Transport => ({
  links: [linkTo(first), ...others.map(linkTo)]
})

/** A pair as Consul answers. */
export const pair = (key: string, created: number, modified = created, value = "", session = "s") => ({
  Key: key,
  Value: Buffer.from(value).toString("base64"),
  Session: session,
  CreateIndex: created,
  ModifyIndex: modified
})

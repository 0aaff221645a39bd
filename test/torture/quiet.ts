/** When all faults are over and nobody changes anything: what must have come true. */
import { Group } from "../../src/index.ts"
import type { History } from "../../src/testing/index.ts"
import type { Entry } from "./engine.ts"
import type { Account, Node } from "./node.ts"
import { Api, Chief, Workers } from "./roles.ts"

interface Known {
  readonly views: ReadonlyMap<string, Extract<History.Event, { readonly _tag: "Viewed" }>>
  readonly leads: boolean
  readonly seat: Extract<History.Event, { readonly _tag: "Began" }> | undefined
}

const api = Group.label(Api.group)
const chief = Group.label(Chief.group)
const workers = Group.label(Workers.group)

/** What a process has told last. */
const knownOf = (events: ReadonlyArray<History.Event>, label: string): Known => {
  const views = new Map<string, Extract<History.Event, { readonly _tag: "Viewed" }>>()
  let leads = false
  let seat: Known["seat"]
  for (const event of events) {
    if (event.process !== label) continue
    if (event._tag === "Viewed") views.set(event.group, event)
    if (event._tag === "Granted" && event.group === chief) leads = true
    if (event._tag === "Stopped" && event.group === chief) leads = false
    if (event._tag === "Began" && event.group === workers) seat = event
    if (event._tag === "Stopped" && event.group === workers) seat = undefined
  }
  return { views, leads, seat }
}

const describe = (members: ReadonlyArray<{ readonly id: string; readonly token: bigint; readonly value: string }>) =>
  members
    .toSorted((a, b) => (a.token < b.token ? -1 : 1))
    .map(({ id, token, value }) => `${id}#${token}=${value}`)
    .join(" ")

/** What has not come true yet. */
export const problems = (
  entries: ReadonlyArray<Entry>,
  nodes: ReadonlyArray<Node>,
  account: Account
): ReadonlyArray<string> => {
  const membersOf = (group: string) => entries.filter((entry) => entry.group === group)
  const registered = membersOf(api)
  const candidates = membersOf(chief).toSorted((a, b) => (a.token < b.token ? -1 : 1))
  const found: Array<string> = []
  const known = nodes.map((node) => ({ node, ...knownOf(account.events, node.label()) }))
  for (const { node, seat, views } of known) {
    const own = registered.find(({ id }) => id === node.name)
    if (own === undefined || !own.value.includes(`"n":"${node.wants()}"`)) {
      found.push(`${node.label()} wants n=${node.wants()} and is registered with ${own?.value ?? "nothing"}`)
    }
    for (const [group, members] of [
      [api, registered],
      [chief, candidates]
    ] as const) {
      const view = views.get(group)
      const shown = view === undefined ? "nothing" : `${describe(view.members)}${view.fresh ? "" : " (stale)"}`
      if (shown !== describe(members)) found.push(`${node.label()} sees ${shown} in ${group}, not ${describe(members)}`)
    }
    if (seat?.count !== nodes.length) found.push(`${node.label()} sits as ${seat?.index} of ${seat?.count}`)
  }
  if (registered.length !== nodes.length) found.push(`registered are ${describe(registered)}`)
  if (candidates.length !== nodes.length) found.push(`candidates are ${describe(candidates)}`)
  const leaders = known.filter(({ leads }) => leads).map(({ node }) => node.name)
  if (leaders.join() !== candidates[0]?.id) found.push(`leading are ${leaders.join()}, first is ${candidates[0]?.id}`)
  const seats = new Set(known.map(({ seat }) => seat?.index))
  if (seats.size !== nodes.length) found.push(`the seats are ${Array.from(seats).join()}`)
  return found
}

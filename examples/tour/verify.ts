/** Judges the story by what happened in it: each claim, and what speaks against it. */
import type { EventOf, History } from "./events.ts"
import { all, awayAt, isTrouble, ownersAt } from "./events.ts"

export type Verdict = Omit<EventOf<"Checked">, "_tag">

type Began = EventOf<"Began">

const list = (nodes: Iterable<string>): string => [...nodes].join(", ")

const membership = (history: History, { nodes }: Began): ReadonlyArray<string> => {
  const failed = all(history, "Failed").map(({ node, reason }) => `${node} failed: ${reason}`)
  const miscounted = (["Joined", "Changed", "Left"] as const).flatMap((tag) => {
    const times = new Map<string, number>()
    for (const { node } of all(history, tag)) times.set(node, (times.get(node) ?? 0) + 1)
    return [...new Set([...nodes, ...times.keys()])].flatMap((node) => {
      // Who was cut off for a while has gone and come once more.
      const again = tag === "Changed" ? 0 : all(history, "Reachable").filter((back) => back.node === node).length
      const wanted = nodes.includes(node) ? 1 + again : 0
      const seen = times.get(node) ?? 0
      return seen === wanted ? [] : [`${node} was seen as ${tag} ${seen} times instead of ${wanted}`]
    })
  })
  return [...failed, ...miscounted]
}

const barrier = (history: History, { nodes }: Began): ReadonlyArray<string> => {
  const ready = new Set<string>()
  const passed = new Set<string>()
  const problems: Array<string> = []
  for (const { event } of history) {
    if (event._tag === "Ready") ready.add(event.node)
    const late = nodes.filter((node) => !ready.has(node))
    if (event._tag === "Gathered" && event.open && late.length > 0) problems.push(`it opened before ${list(late)}`)
    if (event._tag !== "Passed") continue
    passed.add(event.node)
    if (late.length > 0) problems.push(`${event.node} passed before ${list(late)} was ready`)
  }
  const kept = nodes.filter((node) => !passed.has(node))
  return kept.length === 0 ? problems : [...problems, `${list(kept)} never passed`]
}

const leadership = (history: History): ReadonlyArray<string> => {
  const problems: Array<string> = []
  let leader: EventOf<"Leads"> | undefined
  let last: EventOf<"Leads"> | undefined
  for (const { event } of history) {
    if (event._tag === "Leads") {
      if (leader !== undefined) problems.push(`${event.node} leads while ${leader.node} still does`)
      if (last !== undefined && event.token <= last.token) {
        problems.push(`${event.node} leads with token ${event.token}, not larger than ${last.token} before`)
      }
      leader = last = event
    }
    // It stopped with its process, and has no words for it.
    if (event._tag === "Killed" && event.node === leader?.node) leader = undefined
    const acts = event._tag === "Wrote" || event._tag === "StoppedLeading"
    if (acts && (event.node !== leader?.node || event.token !== leader.token)) {
      const what = event._tag === "Wrote" ? "wrote" : "stopped"
      problems.push(`${event.node} ${what} with token ${event.token} when it was not the leader`)
    } else if (event._tag === "StoppedLeading") leader = undefined
  }
  if (leader !== undefined) problems.push(`${leader.node} never stopped leading`)
  return problems
}

const membershipClaim = (history: History, n: number): string => {
  const back = all(history, "Reachable").map(({ node }) => node)
  const twice = back.length === 0 ? "" : `, ${list(back)} twice`
  return `All ${n} nodes were seen joining, changing and leaving once${twice}`
}

const ordinals = ["first", "second"]

const takeover = (history: History): ReadonlyArray<string> => {
  const leaders = all(history, "Leads")
  const troubles = history.flatMap(({ event }) => (isTrouble(event) ? [event] : []))
  const wanted = troubles.length + 1
  const problems: Array<string> = []
  if (troubles.length === 0) problems.push("no leader was brought down")
  if (leaders.length !== wanted) {
    problems.push(`there were ${leaders.length} leaders instead of ${wanted}: ${list(leaders.map(({ node }) => node))}`)
  }
  troubles.forEach(({ node }, index) => {
    const leader = leaders[index]
    if (leader !== undefined && leader.node !== node) {
      problems.push(`the ${ordinals[index]} leader, ${leader.node}, did not crash`)
    }
    if (leader !== undefined && leader.node === leaders[index + 1]?.node) {
      problems.push(`${leader.node} took over from itself`)
    }
  })
  const idle = leaders.filter(({ token }) => !all(history, "Wrote").some((line) => line.token === token))
  return [...problems, ...idle.map(({ node }) => `${node} led without writing a line`)]
}

const takeoverClaim = (history: History): string =>
  all(history, "Unreachable").length > 0
    ? "When one leader was killed and the next cut off, another took over each time"
    : "When the first leader crashed, one other took over"

/** A connection is no session: between the two events nobody loses anything. */
const unharmed = (history: History): ReadonlyArray<string> => {
  const problems: Array<string> = []
  let since = false
  for (const { event } of history) {
    if (event._tag === "ConnectionsReset") since = true
    if (event._tag === "AskedToLeave") since = false
    if (!since) continue
    if (event._tag === "Left") problems.push(`${event.node} left`)
    if (event._tag === "StoppedLeading") problems.push(`${event.node} stopped leading`)
    if (event._tag === "GaveUp") problems.push(`${event.node} gave up its work`)
  }
  const reset = all(history, "ConnectionsReset").length
  const back = all(history, "ConnectionsBack").length
  return reset === back ? problems : [...problems, "not all were connected again"]
}

/** What was shown, against what the nodes reported and against what a division is. */
const divisions = (history: History, { partitions }: Began): ReadonlyArray<string> => {
  const problems: Array<string> = []
  let before: ReadonlyMap<number, string> | undefined
  history.forEach(({ event }, index) => {
    if (event._tag !== "Divided") return
    const reported = ownersAt(history.slice(0, index))
    const owners = new Map<number, string>()
    for (const { node, partitions } of event.owners) {
      if (list(partitions.map(String)) !== list((reported.get(node)?.partitions ?? []).map(String))) {
        problems.push(`what was shown for ${node} is not what it reported`)
      }
      for (const partition of partitions) {
        const other = owners.get(partition)
        if (other !== undefined) problems.push(`partition ${partition} had two owners: ${other} and ${node}`)
        owners.set(partition, node)
      }
    }
    const none = Array.from({ length: partitions }, (_, partition) => partition).filter((p) => !owners.has(p))
    if (none.length > 0) problems.push(`nobody owned ${list(none.map(String))}`)
    const here = new Set(event.owners.map(({ node }) => node))
    for (const [partition, owner] of before ?? []) {
      const now = owners.get(partition)
      if (here.has(owner) && now !== owner) problems.push(`partition ${partition} moved although ${owner} stayed`)
    }
    before = owners
  })
  const shown = all(history, "Divided").length
  return shown === 2 ? problems : [...problems, `${shown} divisions were shown instead of 2`]
}

/** At no moment two owners: the old body stops before a new one starts, on every node. */
const exclusive = (history: History): ReadonlyArray<string> => {
  const owner = new Map<number, string>()
  const problems: Array<string> = []
  for (const { event } of history) {
    if (event._tag === "GaveUp") {
      for (const partition of event.partitions) if (owner.get(partition) === event.node) owner.delete(partition)
    }
    if (event._tag === "Killed") {
      for (const [partition, node] of owner) if (node === event.node) owner.delete(partition)
    }
    if (event._tag !== "Owns") continue
    for (const partition of event.partitions) {
      const other = owner.get(partition)
      if (other !== undefined && other !== event.node) {
        problems.push(`${event.node} took partition ${partition} while ${other} worked on it`)
      }
      owner.set(partition, event.node)
    }
  }
  return problems
}

const departure = (history: History, { nodes }: Began): ReadonlyArray<string> => {
  const away = awayAt(history)
  const asked = all(history, "AskedToLeave").map(({ node }) => node)
  // The store drops who is away without being asked.
  const left = history.flatMap(({ event }, index) =>
    event._tag === "Left" && !awayAt(history.slice(0, index)).has(event.node) ? [event] : []
  )
  const problems: Array<string> = []
  const unasked = nodes.filter((node) => !away.has(node) && !asked.includes(node))
  if (unasked.length > 0) problems.push(`${list(unasked)} was never asked to leave`)
  const order = list(left.map(({ node }) => node))
  if (order !== list(asked)) problems.push(`they left in the order ${order}, asked in the order ${list(asked)}`)
  for (const node of asked) {
    const tags = history.flatMap(({ event }) => ("node" in event && event.node === node ? [event._tag] : []))
    const gone = tags.lastIndexOf("Left")
    for (const tag of ["GaveUp", "StoppedLeading"] as const) {
      if (gone >= 0 && tags.lastIndexOf(tag) > gone) problems.push(`${node} had left before it stopped its work`)
    }
    const working = tags.lastIndexOf("Owns")
    if (working >= 0 && tags.lastIndexOf("GaveUp") < working) problems.push(`${node} left without giving up its work`)
  }
  return problems
}

const remains = (history: History): ReadonlyArray<string> => {
  const looks = all(history, "LookedInside")
  if (looks.length === 0) return ["nobody looked"]
  const killed = new Set(all(history, "Killed").map(({ node }) => node))
  return looks.flatMap(({ dying, remains }) => [
    ...remains.map((what) => `${what} is still there`),
    // Who has left in order has taken everything with it.
    ...dying.filter((node) => !killed.has(node)).map((node) => `${node} is still there`)
  ])
}

const remainsClaim = (history: History): string => {
  const dying = all(history, "LookedInside").flatMap((look) => look.dying)
  return dying.length === 0
    ? "Nothing was left in the store"
    : `Nothing was left in the store but ${list(dying)}, critical, soon to be deregistered`
}

export const verify = (history: History): ReadonlyArray<Verdict> => {
  const [began] = all(history, "Began")
  if (began === undefined) return [{ claim: "The story began", problems: ["it did not"] }]
  const n = began.nodes.length
  return [
    { claim: membershipClaim(history, n), problems: membership(history, began) },
    { claim: `The barrier let nobody pass before all ${n} were ready`, problems: barrier(history, began) },
    { claim: "One leader at a time, each with a larger token, and only leaders wrote", problems: leadership(history) },
    { claim: takeoverClaim(history), problems: takeover(history) },
    ...(all(history, "ConnectionsReset").length === 0
      ? []
      : [{ claim: "When every connection was reset, nobody lost a place", problems: unharmed(history) }]),
    {
      claim: `Each of the ${began.partitions} partitions had one owner, and only those of the leaver moved`,
      problems: divisions(history, began)
    },
    { claim: "No two nodes ever worked on the same partition at once", problems: exclusive(history) },
    { claim: "They left in the order asked, each after it had stopped its work", problems: departure(history, began) },
    { claim: remainsClaim(history), problems: remains(history) }
  ]
}

/** Runs as texts and diagrams. */
import * as Graph from "effect/Graph"
import { describeStatus } from "./describe.ts"
import type { Report, ServiceGraph, ServiceState, Timing } from "./model.ts"

/** Readable on light and on dark ground: the fill is pale, the text black. */
const colours: Readonly<Record<ServiceState, string>> = {
  waiting: "#eeeeee",
  starting: "#cfe2ff",
  retrying: "#ffe5b4",
  ready: "#c8e6c9",
  degraded: "#fff3a3",
  failed: "#f8b4b4",
  stopping: "#d7ccc8",
  stopped: "#ffffff",
  abandoned: "#e57373"
}

const edgeLabel = ({ optional }: { readonly optional: boolean }): string => (optional ? "optional" : "")

export const toMermaid = (graph: ServiceGraph): string => {
  const states = new Map<ServiceState, Array<number>>()
  for (const [index, { state }] of Graph.entries(Graph.nodes(graph))) {
    states.set(state, [...(states.get(state) ?? []), index])
  }
  const classes = [...states].flatMap(([state, indices]) => [
    `  classDef ${state} fill:${colours[state]},stroke:#555,color:#000`,
    `  class ${indices.join(",")} ${state}`
  ])
  const drawn = Graph.toMermaid(graph, { nodeLabel: ({ name, state }) => `${name}: ${state}`, edgeLabel })
  return [drawn, ...classes].join("\n")
}

export const toDot = (graph: ServiceGraph): string => {
  const fills = Array.from(
    Graph.entries(Graph.nodes(graph)),
    ([index, { state }]) => `  "${index}" [style="filled", fillcolor="${colours[state]}"];`
  )
  const drawn = Graph.toGraphViz(graph, { graphName: "services", nodeLabel: describeStatus, edgeLabel })
  return [drawn.slice(0, drawn.lastIndexOf("}")).trimEnd(), ...fills, "}"].join("\n")
}

const millis = (value: number): string =>
  value >= 100 ? `${Math.round(value)} ms` : `${Math.round(value * 10) / 10} ms`

const startDetails = ({ attempts, own, retrying, waiting }: Timing): string =>
  [
    `own ${millis(own)}`,
    waiting > 0 ? `waiting ${millis(waiting)}` : undefined,
    retrying > 0 ? `between attempts ${millis(retrying)}` : undefined,
    attempts > 1 ? `${attempts} attempts` : undefined
  ]
    .filter((text) => text !== undefined)
    .join(", ")

const stopDetails = ({ own, waiting }: Timing): string =>
  waiting > 0 ? `own ${millis(own)}, waiting ${millis(waiting)}` : `own ${millis(own)}`

const table = (
  title: string,
  whole: number,
  services: ReadonlyArray<Timing>,
  details: (timing: Timing) => string
): ReadonlyArray<string> => {
  const width = Math.max(0, ...services.map(({ service }) => service.length))
  const sorted = services.toSorted((a, b) => a.endedAt - b.endedAt)
  return [
    `${title} took ${millis(whole)}; the critical chain is marked *`,
    ...sorted.map((timing) => {
      const { critical, endedAt, service, state } = timing
      return `${critical ? "*" : " "} ${service.padEnd(width)}  ${state} @ ${millis(endedAt)}  ${details(timing)}`
    })
  ]
}

/** The start, and the stop where there was one. */
export const toText = ({ start, stop }: Report): string => {
  const stopped = stop.services.length === 0 ? [] : table("The stop", stop.millis, stop.services, stopDetails)
  return [...table("The start", start.millis, start.services, startDetails), ...stopped].join("\n")
}

/** A colon ends a task's name in Mermaid, and `#` and `;` end a statement. */
const taskName = (name: string): string => name.replace(/[:;#,]/g, " ")

const bars = (section: string, services: ReadonlyArray<Timing>): ReadonlyArray<string> => {
  if (services.length === 0) return []
  const tasks = services.map(({ beganAt, critical, endedAt, service, state }) => {
    const failed = state === "failed" || state === "abandoned"
    const tags = [critical || failed ? "crit" : undefined, failed ? undefined : "done"].filter(
      (tag) => tag !== undefined
    )
    const [from, to] = [Math.round(beganAt), Math.max(Math.round(endedAt), Math.round(beganAt) + 1)]
    return `    ${taskName(service)} :${tags.join(", ")}, ${from}, ${to}`
  })
  return [`  section ${section}`, ...tasks]
}

/** The same as bars over time, in milliseconds. What was waited for is not part of a bar. */
export const toGantt = ({ start, stop }: Report): string => {
  const working = (timing: Timing): Timing => ({ ...timing, beganAt: timing.endedAt - timing.own - timing.retrying })
  const head = ["gantt", "  dateFormat x", "  axisFormat %S.%L", "  title Start and stop"]
  return [...head, ...bars("Start", start.services.map(working)), ...bars("Stop", stop.services)].join("\n")
}

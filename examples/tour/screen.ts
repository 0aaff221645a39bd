/** The story for a person: chapters, columns, and colours where the terminal has them. */
import { styleText } from "node:util"
import type { Event, EventOf, Stamped } from "./events.ts"

// It asks the stream and NO_COLOR itself, and leaves the text plain where colours are not wanted.
const paint = styleText

/** One for each node. Green and red are kept for what becomes of them. */
const palette = ["cyan", "yellow", "magenta", "blueBright", "whiteBright", "cyanBright", "yellowBright"] as const

type Style = Parameters<typeof paint>[0]

const seconds = (millis: number): string => (millis / 1000).toFixed(1)

/** The chapter in which a kind of event is shown: one that comes early is kept until then. The others are shown at once. */
const chapterOf: Partial<Record<Event["_tag"], number>> = { Leads: 3, Wrote: 3, StoppedLeading: 3 }

/** One cause may speak against a claim many times over. */
const mostProblems = 3

/** Draws each event as some lines, or none. It remembers what a line has to compare with. */
export const make = (print: (line: string) => void) => {
  let began: EventOf<"Began"> = { _tag: "Began", engine: "", nodes: [], partitions: 0, ttlMillis: 0 }
  let width = 0
  let chapter = 0
  let early: ReadonlyArray<Stamped> = []
  let previousToken: bigint | undefined
  const cutOffAt = new Map<string, number>()
  const askedAt = new Map<string, number>()
  let divided: EventOf<"Divided"> | undefined

  const styleOf = (who: string): Style => palette[began.nodes.indexOf(who) % palette.length] ?? "reset"

  const line = (at: number, who: string, what: string, details: string, style: Style = "reset") =>
    print(
      [
        paint("dim", (at / 1000).toFixed(2).padStart(7)),
        paint(styleOf(who), who.padEnd(width)),
        paint(style, what.padEnd(9)),
        details
      ]
        .join("  ")
        .trimEnd()
    )

  const left = (at: number, node: string) => {
    const asked = askedAt.get(node)
    const crashed = cutOffAt.get(node)
    if (asked !== undefined) line(at, node, "- leaves", `in order, ${at - asked} ms after it was asked to`, "yellow")
    else if (crashed !== undefined) line(at, node, "- gone", "the store has ended its session", "red")
    else line(at, node, "- gone", "nobody asked it to leave", "red")
  }

  const division = (event: EventOf<"Divided">) => {
    const before = new Set(divided?.owners.flatMap(({ node, partitions }) => partitions.map((p) => `${node} ${p}`)))
    const cell = (node: string, own: boolean, partition: number): string => {
      if (!own) return paint("dim", "·".padStart(3))
      return divided === undefined || before.has(`${node} ${partition}`)
        ? paint(styleOf(node), String(partition).padStart(3))
        : paint(["bold", "green"], `+${partition}`.padStart(3))
    }
    const moved = divided === undefined ? "" : ", + where one has moved"
    if (divided !== undefined) print("")
    print(paint("dim", `${" ".repeat(9)}${began.partitions} partitions over ${event.owners.length} nodes${moved}`))
    for (const { node, partitions } of event.owners) {
      const cells = Array.from({ length: began.partitions }, (_, p) => cell(node, partitions.includes(p), p))
      print(`${" ".repeat(9)}${paint(styleOf(node), node.padEnd(width))}  ${cells.join(" ")}`)
    }
    divided = event
  }

  const show = ({ at, event }: Stamped): void => {
    switch (event._tag) {
      case "Began": {
        began = event
        width = Math.max("barrier".length, ...event.nodes.map((node) => node.length))
        const { engine, nodes, ttlMillis } = event
        print("")
        print(paint("bold", "A tour of effect-ensemble"))
        return print(
          paint("dim", `${nodes.length} nodes on ${engine}, sessions of ${ttlMillis / 1000} s, times in seconds`)
        )
      }
      case "Providing":
        return print(paint("dim", event.store))
      case "Provided":
        return print(paint("dim", `${event.store} at ${event.endpoints.join(", ")}, each node a process of its own`))
      case "Started":
        return line(at, event.node, "starts", paint("dim", `process ${event.pid}`), "dim")
      case "Chapter":
        print("")
        return print(paint("bold", `${event.number}  ${event.title}`))
      case "Joined":
        return line(at, event.node, "+ joins", `${event.listens}, zone ${event.zone}`, "green")
      case "Changed":
        return line(at, event.node, "~ changes", event.phase)
      case "Left":
        return left(at, event.node)
      case "Gathered": {
        const { minimum, open, present, ready } = event
        const absent = Math.max(0, minimum - present)
        const bar = paint("green", "■".repeat(ready)) + "□".repeat(present - ready) + paint("dim", "·".repeat(absent))
        const [what, style]: [string, Style] = open ? ["opens", "green"] : ["waits", "dim"]
        return line(at, "barrier", what, `${bar}  ${ready} of ${minimum} ready`, style)
      }
      case "Leads": {
        const than = previousToken === undefined ? "" : `, larger than ${previousToken}`
        previousToken = event.token
        return line(at, event.node, "leads", `with token ${event.token}${than}`, ["bold", "green"])
      }
      case "Wrote":
        // It goes on writing behind the later chapters.
        if (chapter > 3) return
        return line(at, event.node, "writes", paint("dim", `line ${event.line} with token ${event.token}`), "dim")
      case "CutOff":
        cutOffAt.set(event.node, at)
        return line(at, event.node, "crashes", "cut off: it releases nothing, and nobody is told", ["bold", "red"])
      case "Killed":
        cutOffAt.set(event.node, at)
        return line(at, event.node, "crashes", `SIGKILL to process ${event.pid}: it says nothing`, ["bold", "red"])
      case "Unreachable":
        cutOffAt.set(event.node, at)
        return line(at, event.node, "cut off", "its network is silent both ways", ["bold", "red"])
      case "Reachable":
        cutOffAt.delete(event.node)
        return line(at, event.node, "is back", "its network works again, its places are gone", "green")
      case "ConnectionsReset":
        print("")
        return line(at, "network", "resets", `every connection of ${event.nodes.length} nodes`, ["bold", "red"])
      case "ConnectionsBack":
        return line(at, "network", "is back", `${event.nodes.length} nodes have connected again`, "green")
      case "StoppedLeading": {
        if (event.why === null) return line(at, event.node, "resigns", `its token was ${event.token}`, "yellow")
        const cut = cutOffAt.get(event.node)
        const why = cut === undefined ? event.why : `by its own clock, ${seconds(at - cut)} s after it was cut off`
        return line(at, event.node, "stops", why, "yellow")
      }
      case "Divided":
        return division(event)
      case "AskedToLeave":
        askedAt.set(event.node, at)
        return
      case "Failed":
        return line(at, event.node, "fails", event.reason, ["bold", "red"])
      case "Checked":
        if (event.problems.length === 0) return print(`   ${paint("green", "✓")}  ${event.claim}`)
        print(`   ${paint(["bold", "red"], "✗")}  ${event.claim}`)
        for (const problem of event.problems.slice(0, mostProblems)) print(paint("red", `      ${problem}`))
        if (event.problems.length > mostProblems) {
          print(paint("red", `      and ${event.problems.length - mostProblems} times more, see --json`))
        }
        return
      case "Ended":
        print("")
        print(
          event.ok
            ? `${paint(["bold", "green"], "All of it is true.")}  ${paint("dim", `${seconds(at)} s`)}`
            : `${paint(["bold", "red"], "This went wrong:")} ${event.reason}`
        )
        return print("")
      case "Ready":
      case "Passed":
      case "Owns":
      case "GaveUp":
      case "LookedInside":
        return
    }
  }

  const isEarly = ({ event }: Stamped): boolean => (chapterOf[event._tag] ?? 0) > chapter

  return (stamped: Stamped): void => {
    if (isEarly(stamped)) {
      early = [...early, stamped]
      return
    }
    show(stamped)
    if (stamped.event._tag !== "Chapter") return
    chapter = stamped.event.number
    const due = early.filter((one) => !isEarly(one))
    early = early.filter(isEarly)
    due.forEach(show)
  }
}

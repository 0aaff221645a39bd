import { spawn } from "node:child_process"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { root } from "./tooling/source.ts"

interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly lines: ReadonlyArray<string>
}

/** Runs a scenario; each time a line is told for which there is a signal, that signal is sent. */
const play = (scenario: string, signals: ReadonlyArray<readonly [on: string, signal: NodeJS.Signals]> = []) =>
  new Promise<Ended>((done) => {
    const child = spawn(process.execPath, [join(root, "test/maestro/main.ts"), scenario], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    const lines: Array<string> = []
    const left = [...signals]
    let partial = ""
    const read = (chunk: Buffer) => {
      const parts = (partial + String(chunk)).split("\n")
      partial = parts.pop() ?? ""
      for (const line of parts) {
        lines.push(line)
        // The next one only after what this one leads to: two at once may be delivered as one.
        const [next] = left
        if (next !== undefined && line.includes(next[0])) {
          left.shift()
          child.kill(next[1])
        }
      }
    }
    child.stdout.on("data", read)
    child.stderr.on("data", read)
    // Long past anything that a scenario takes: a program that hangs is a finding, not a hanging test.
    const deadline = setTimeout(() => child.kill("SIGKILL"), 20_000)
    child.on("close", (code, signal) => {
      clearTimeout(deadline)
      done({ code, signal, lines })
    })
  })

const has = ({ lines }: Ended, text: string): void =>
  assert.isTrue(
    lines.some((line) => line.includes(text)),
    `no line has "${text}":\n${lines.join("\n")}`
  )

describe("a main program", () => {
  it("ends with 143 after SIGTERM, what is around it last", async () => {
    const ended = await play("waits", [["phase running", "SIGTERM"]])
    assert.deepStrictEqual(ended.lines, [
      "probes up",
      "phase idle",
      "phase starting",
      "base up",
      "api up",
      "phase running",
      "phase stopping",
      "api stops",
      "base stops",
      "phase stopped",
      "probes stop"
    ])
    assert.strictEqual(ended.code, 143)
  })

  it("ends with 130 after SIGINT", async () => {
    const ended = await play("waits", [["phase running", "SIGINT"]])
    assert.strictEqual(ended.code, 130)
  })

  it("ends with the code that its user wants", async () => {
    const ended = await play("recoded", [["api up", "SIGTERM"]])
    assert.strictEqual(ended.code, 0)
  })

  it("is not ready while it drains, and stops then", async () => {
    const ended = await play("drains", [["phase running", "SIGTERM"]])
    assert.deepStrictEqual(ended.lines.slice(5, 8), ["phase running", "phase draining", "phase stopping"])
    assert.strictEqual(ended.code, 143)
  })

  it("stops draining at the second signal", async () => {
    const ended = await play("drainsLong", [
      ["phase running", "SIGTERM"],
      ["phase draining", "SIGTERM"]
    ])
    has(ended, "api stops")
    assert.include([2, 143], ended.code)
  })

  it("ends with 0 when it is stopped from inside", async () => {
    const ended = await play("stops")
    has(ended, "base stops")
    assert.strictEqual(ended.code, 0)
  })

  it("ends with 1 when a service has failed it", async () => {
    const ended = await play("fails")
    has(ended, "the worker died")
    has(ended, "base stops")
    assert.strictEqual(ended.code, 1)
  })

  it("ends with 1 when it cannot start, and says why", async () => {
    const ended = await play("cannotStart")
    has(ended, "bad failed (1 attempt): no database")
    has(ended, "base stops")
    assert.strictEqual(ended.code, 1)
  })

  it("stops a start that is under way", async () => {
    const ended = await play("starting", [["starting", "SIGTERM"]])
    has(ended, "base stops")
    assert.strictEqual(ended.code, 143)
  })

  it("stops while what is around it starts", async () => {
    const ended = await play("aroundStarting", [["around", "SIGTERM"]])
    assert.strictEqual(ended.code, 143)
  })

  it("ends with 2 when a service does not stop in time, and says which", async () => {
    const ended = await play("stuckShort", [["stuck up", "SIGTERM"]])
    has(ended, "base stops")
    has(ended, "Did not stop: stuck abandoned")
    assert.strictEqual(ended.code, 2)
  })

  it("leaves no more time at the second signal", async () => {
    const ended = await play("stuck", [
      ["stuck up", "SIGTERM"],
      ["stuck stops", "SIGINT"]
    ])
    has(ended, "base stops")
    assert.strictEqual(ended.code, 2)
  })

  it("leaves no more time to what is around it either", async () => {
    const ended = await play("stuckAround", [
      ["api up", "SIGTERM"],
      ["around stops", "SIGTERM"]
    ])
    assert.strictEqual(ended.code, 2)
  })

  it("exits at the third signal, whatever holds it", async () => {
    const ended = await play("aroundStuck", [
      ["around", "SIGTERM"],
      ["signal 1", "SIGTERM"],
      ["signal 2", "SIGTERM"]
    ])
    assert.strictEqual(ended.code, 143)
  })
})

import type { Buffer } from "node:buffer"
import type { Socket } from "node:net"

/** Counters that all lanes of one direction share. */
export interface Traffic {
  delivered: number
  held: number
}

/** What befalls the bytes of one direction. */
export interface Weather {
  silent: boolean
  delayMillis: number
  /** 0 when unlimited. */
  bytesPerSecond: number
}

export const calm = (): Weather => ({ silent: false, delayMillis: 0, bytesPerSecond: 0 })

/** One direction of a connection: what was read from one socket, on its way to the other, in order. */
export interface Lane {
  readonly change: (weather: Weather) => void
  /** Lets this many more bytes pass, then calls `spent` instead of passing the rest. */
  readonly limit: (bytes: number, spent: () => void) => void
  readonly close: () => void
}

type Parcel = { readonly what: Buffer | "end" | "reset"; readonly due: number }

/**
 * More than this is left to the sender's and the kernel's own buffers, so that a silent connection pushes back on its
 * sender as a real one does. It is above the 64 KiB of one read.
 */
const holdLimit = 1 << 20

const sizeOf = (what: Parcel["what"]): number => (typeof what === "string" ? 0 : what.length)

export const makeLane = (from: Socket, to: Socket, traffic: Traffic, initially: Weather): Lane => {
  const parcels: Array<Parcel> = []
  let weather = initially
  let held = 0
  let lastDue = 0
  let timer: NodeJS.Timeout | undefined
  let allowance = Number.POSITIVE_INFINITY
  let onSpent = () => {}
  let closed = false

  const write = (chunk: Buffer): void => {
    if (chunk.length > allowance) {
      const rest = chunk.subarray(0, allowance)
      closed = true
      traffic.delivered += rest.length
      // Only once these bytes are with the kernel: a reset discards what is still queued here.
      to.write(rest, onSpent)
      return
    }
    allowance -= chunk.length
    traffic.delivered += chunk.length
    if (!to.write(chunk)) from.pause()
  }

  const deliver = (what: Parcel["what"]): void => {
    if (what === "end") to.end()
    else if (what === "reset") to.resetAndDestroy()
    else if (!to.destroyed) write(what)
  }

  const pump = (): void => {
    clearTimeout(timer)
    while (!closed && !weather.silent) {
      const next = parcels[0]
      if (next === undefined) break
      const wait = next.due - performance.now()
      if (wait > 0) {
        timer = setTimeout(pump, Math.ceil(wait))
        break
      }
      parcels.shift()
      held -= sizeOf(next.what)
      traffic.held -= sizeOf(next.what)
      deliver(next.what)
    }
    if (!closed && held < holdLimit && !to.writableNeedDrain) from.resume()
  }

  /** Later bytes are never due before earlier ones, also when a delay becomes shorter. */
  const dueOf = (size: number): number => {
    const transfer = weather.bytesPerSecond === 0 ? 0 : (size / weather.bytesPerSecond) * 1000
    return (lastDue = Math.max(performance.now() + weather.delayMillis, lastDue) + transfer)
  }

  const take = (what: Parcel["what"]): void => {
    if (closed) return
    // Then nothing waits either: whatever makes the weather calm has delivered it.
    if (!weather.silent && weather.delayMillis === 0 && weather.bytesPerSecond === 0) {
      return deliver(what)
    }
    parcels.push({ what, due: dueOf(sizeOf(what)) })
    held += sizeOf(what)
    traffic.held += sizeOf(what)
    if (held >= holdLimit) from.pause()
    pump()
  }

  from.on("data", take)
  from.once("end", () => take("end"))
  from.once("close", (failed) => failed && take("reset"))
  to.on("drain", pump)

  return {
    change: (next) => {
      const healed = next.delayMillis === 0 && next.bytesPerSecond === 0
      weather = { ...next }
      if (healed) {
        lastDue = 0
        for (const [index, parcel] of parcels.entries()) parcels[index] = { what: parcel.what, due: 0 }
      }
      pump()
    },
    limit: (bytes, spent) => {
      allowance = bytes
      onSpent = spent
    },
    close: () => {
      closed = true
      clearTimeout(timer)
      traffic.held -= held
      held = 0
    }
  }
}

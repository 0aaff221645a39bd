/**
 * Cuts the stream of bytes into frames: four bytes of length, then that many.
 *
 * A frame that lies whole in one piece is handed on as a view of it. One that arrives in pieces is copied once, into memory
 * that grows with what has come, so that neither a frame in single bytes nor a length that never comes costs more than
 * twice what was received.
 */
import { ProtocolError } from "./errors.ts"

/**
 * The longest answer that is read. The servers' own limit is on what they read (`jute.maxbuffer`, 1 MiB); a list of
 * children may be longer. 100,000 names of 40 characters fit.
 */
export const defaultLimit = 8 * 1024 * 1024

const header = 4

export interface Splitter {
  /**
   * Takes one piece and hands on every frame that ends in it, in order. Answers what is wrong with the stream, after which
   * nothing more can be read from it. `onFrame` says whether to go on.
   */
  readonly push: (piece: Uint8Array) => ProtocolError | undefined
}

export const make = (limit: number, onFrame: (frame: Uint8Array) => boolean): Splitter => {
  /** The beginning of a frame whose end has not come, with its length in front. */
  let partial = new Uint8Array(64)
  let kept = 0

  const lengthAt = (bytes: Uint8Array, at: number): number =>
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)

  const problem = (length: number): ProtocolError | undefined =>
    length >= 0 && length <= limit
      ? undefined
      : new ProtocolError({ detail: `a frame of ${length} bytes, where 0 to ${limit} are read` })

  const keep = (piece: Uint8Array, from: number, to: number): void => {
    const needed = kept + to - from
    if (needed > partial.length) {
      const grown = new Uint8Array(Math.min(header + limit, Math.max(needed, 2 * partial.length)))
      grown.set(partial.subarray(0, kept))
      partial = grown
    }
    partial.set(piece.subarray(from, to), kept)
    kept = needed
  }

  return {
    push: (piece) => {
      let at = 0
      while (at < piece.length) {
        if (kept > 0) {
          if (kept < header) {
            const more = Math.min(header - kept, piece.length - at)
            keep(piece, at, at + more)
            at += more
            if (kept < header) return undefined
          }
          const length = lengthAt(partial, 0)
          const wrong = problem(length)
          if (wrong !== undefined) return wrong
          const more = Math.min(header + length - kept, piece.length - at)
          keep(piece, at, at + more)
          at += more
          if (kept < header + length) return undefined
          const frame = partial.subarray(header, kept)
          // The frame now belongs to whoever reads it.
          partial = new Uint8Array(64)
          kept = 0
          if (!onFrame(frame)) return undefined
          continue
        }
        if (piece.length - at < header) {
          keep(piece, at, piece.length)
          return undefined
        }
        const length = lengthAt(piece, at)
        const wrong = problem(length)
        if (wrong !== undefined) return wrong
        const end = at + header + length
        if (end > piece.length) {
          keep(piece, at, piece.length)
          return undefined
        }
        if (!onFrame(piece.subarray(at + header, end))) return undefined
        at = end
      }
      return undefined
    }
  }
}

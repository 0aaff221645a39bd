/**
 * Jute, the serialisation of ZooKeeper: big-endian integers, and lengths before buffers, texts and vectors, with -1 for
 * none (`org.apache.jute.BinaryInputArchive`, `BinaryOutputArchive`).
 *
 * The reader never throws. The first thing that does not fit is kept as its `problem`, and whatever is read after that is
 * empty; {@link decode} turns the problem into a `ProtocolError`. So a record is read straight through, and no byte
 * sequence can make reading it do anything but end.
 */
import * as Result from "effect/Result"
import { ProtocolError } from "./errors.ts"
import * as Utf8 from "./utf8.ts"

const none = new Uint8Array(0)

/**
 * Reads one frame from its beginning. Paths come out as seen from the chroot, which is the whole of what the chroot does to
 * answers. Buffers are views of the frame: copy one to keep it beyond the frame. */
export class Reader {
  readonly bytes: Uint8Array
  private readonly chroot: string
  private readonly view: DataView
  private at = 0
  /** What did not fit, and where. */
  problem: string | undefined = undefined

  constructor(bytes: Uint8Array, chroot = "") {
    this.bytes = bytes
    this.chroot = chroot
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get remaining(): number {
    return this.bytes.length - this.at
  }

  fail(problem: string): void {
    this.problem ??= `${problem} at byte ${this.at} of ${this.bytes.length}`
    // Nothing can be read any more, so that loops over what is left end.
    this.at = this.bytes.length
  }

  /** Where `length` bytes begin, or -1 when there are not so many. */
  private take(length: number, what: string): number {
    const start = this.at
    if (length > this.bytes.length - start) {
      this.fail(`${what} of ${length} bytes where ${this.bytes.length - start} are left`)
      return -1
    }
    this.at = start + length
    return start
  }

  int(): number {
    const start = this.take(4, "an int")
    return start < 0 ? 0 : this.view.getInt32(start)
  }

  long(): bigint {
    const start = this.take(8, "a long")
    return start < 0 ? 0n : this.view.getBigInt64(start)
  }

  /** A long that is a time in milliseconds: a number holds it exactly for 285,000 years. */
  millis(): number {
    const start = this.take(8, "a long")
    return start < 0 ? 0 : this.view.getInt32(start) * 0x1_0000_0000 + this.view.getUint32(start + 4)
  }

  bool(): boolean {
    const start = this.take(1, "a bool")
    return start >= 0 && this.bytes[start] !== 0
  }

  /** A length that was announced and fits, or -1 for none. */
  private length(what: string): number {
    const length = this.int()
    if (length < -1) {
      this.fail(`${what} of length ${length}`)
      return -1
    }
    return length
  }

  buffer(): Uint8Array {
    const length = this.length("a buffer")
    if (length <= 0) return none
    const start = this.take(length, "a buffer")
    return start < 0 ? none : this.bytes.subarray(start, start + length)
  }

  /** A text; none reads as the empty one. */
  ustring(): string {
    const length = this.length("a text")
    if (length <= 0) return ""
    const start = this.take(length, "a text")
    return start < 0 ? "" : Utf8.decode(this.bytes, start, start + length)
  }

  path(): string {
    const path = this.ustring()
    const { chroot } = this
    if (chroot === "") return path
    if (path === chroot) return "/"
    if (!path.startsWith(`${chroot}/`)) this.fail(`a path outside ${chroot}`)
    return path.slice(chroot.length)
  }

  /** A vector of elements that take at least `least` bytes each: a count that cannot fit is refused before the first. */
  vector<A>(least: number, element: (reader: Reader) => A): Array<A> {
    const count = this.length("a vector")
    const elements: Array<A> = []
    if (count > 0 && count * least > this.remaining)
      this.fail(`a vector of ${count} where ${this.remaining} bytes are left`)
    for (let i = 0; i < count && this.problem === undefined; i++) elements.push(element(this))
    return elements
  }
}

/** Reads one record. Bytes after it are left alone, as in ZooKeeper's own client: newer servers may add fields. */
export const decode = <A>(bytes: Uint8Array, read: (reader: Reader) => A): Result.Result<A, ProtocolError> => {
  const reader = new Reader(bytes)
  const value = read(reader)
  return reader.problem === undefined
    ? Result.succeed(value)
    : Result.fail(new ProtocolError({ detail: reader.problem }))
}

/** Enough for some hundred requests, so that a burst is one piece of memory and one write. */
const initialCapacity = 16 * 1024

/**
 * Writes frames one after the other, with every path below the chroot. What was taken stays with the taker: the writer goes on behind it, in the same
 * memory while there is room.
 */
export class Writer {
  private readonly chroot: string
  private bytes: Uint8Array
  private view: DataView
  private taken = 0
  private at = 0

  constructor(chroot = "", capacity = initialCapacity) {
    this.chroot = chroot
    this.bytes = new Uint8Array(capacity)
    this.view = new DataView(this.bytes.buffer)
  }

  /** Bytes that were written and not taken. */
  get pending(): number {
    return this.at - this.taken
  }

  /** Everything written since the last time, as one view. */
  take(): Uint8Array {
    const bytes = this.bytes.subarray(this.taken, this.at)
    this.taken = this.at
    return bytes
  }

  private reserve(length: number): void {
    if (length <= this.bytes.length - this.at) return
    // What was taken may still be on its way to the network: it is left behind, never written over.
    const kept = this.pending
    const bytes = new Uint8Array(Math.max(initialCapacity, 2 * (kept + length)))
    bytes.set(this.bytes.subarray(this.taken, this.at))
    this.bytes = bytes
    this.view = new DataView(bytes.buffer)
    this.taken = 0
    this.at = kept
  }

  /** A frame: its length, then what `body` writes. A body over the limit is taken back; the answer is its length. */
  frame(limit: number, body: (writer: this) => void): number {
    this.reserve(4)
    const kept = this.pending
    this.at += 4
    body(this)
    // The memory may have changed in between; positions relative to what is pending have not.
    const start = this.taken + kept
    const length = this.at - start - 4
    if (length > limit) this.at = start
    else this.view.setInt32(start, length)
    return length
  }

  int(value: number): this {
    this.reserve(4)
    this.view.setInt32(this.at, value)
    this.at += 4
    return this
  }

  long(value: bigint): this {
    this.reserve(8)
    this.view.setBigInt64(this.at, value)
    this.at += 8
    return this
  }

  bool(value: boolean): this {
    this.reserve(1)
    this.bytes[this.at++] = value ? 1 : 0
    return this
  }

  buffer(value: Uint8Array): this {
    this.reserve(4 + value.length)
    this.view.setInt32(this.at, value.length)
    this.bytes.set(value, this.at + 4)
    this.at += 4 + value.length
    return this
  }

  ustring(value: string): this {
    this.reserve(4 + 3 * value.length)
    const end = Utf8.write(value, this.bytes, this.at + 4)
    this.view.setInt32(this.at, end - this.at - 4)
    this.at = end
    return this
  }

  /** A path that begins with a slash. */
  path(path: string): this {
    if (this.chroot === "") return this.ustring(path)
    return this.ustring(path === "/" ? this.chroot : this.chroot + path)
  }

  vector<A>(values: ReadonlyArray<A>, element: (writer: this, value: A) => void): this {
    this.int(values.length)
    for (const value of values) element(this, value)
    return this
  }
}

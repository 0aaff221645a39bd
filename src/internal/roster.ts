/**
 * Values in the order in which they came, for very many that come and go.
 *
 * A `Set` does the same, but one that is added to and deleted from all the time outgrows its table again and again, and in V8 an outgrown table
 * points to the next. One of them that has become old keeps all later ones, with everything that ever stood in them, until the garbage
 * collector's next full round: measured on requests and their deadlines, that was half of what the collector had to do.
 */
export interface Entry<A> {
  /** Absent when it has left. */
  value: A | undefined
  before: Entry<A> | undefined
  after: Entry<A> | undefined
}

export class Roster<A> {
  private first: Entry<A> | undefined = undefined
  private last: Entry<A> | undefined = undefined

  get oldest(): A | undefined {
    return this.first?.value
  }

  get isEmpty(): boolean {
    return this.first === undefined
  }

  add(value: A): Entry<A> {
    const entry: Entry<A> = { value, before: this.last, after: undefined }
    if (this.last === undefined) this.first = entry
    else this.last.after = entry
    this.last = entry
    return entry
  }

  /** Says whether it was still there. */
  remove(entry: Entry<A>): boolean {
    if (entry.value === undefined) return false
    if (entry.before === undefined) this.first = entry.after
    else entry.before.after = entry.after
    if (entry.after === undefined) this.last = entry.before
    else entry.after.before = entry.before
    entry.value = entry.before = entry.after = undefined
    return true
  }

  /** Calls for those that are there now and have not left when it is their turn: any may come and go meanwhile. */
  forEach(call: (value: A) => void): void {
    if (this.first === undefined) return
    const entries: Array<Entry<A>> = []
    for (let entry: Entry<A> | undefined = this.first; entry !== undefined; entry = entry.after) entries.push(entry)
    for (const entry of entries) if (entry.value !== undefined) call(entry.value)
  }
}

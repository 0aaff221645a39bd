/**
 * The ordered ephemeral group: members that live as long as their session, each with a value and a place in join order.
 *
 * **When to use**
 *
 * Use a recipe first. Use a group directly when a question is none of discovery, election, lock, barrier or sequence.
 *
 * **Details**
 *
 * A group speaks strings; schemas live in the recipes. Views are immutable and cheap: a change costs at most log n, and
 * the ordered array is built when somebody reads it.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { CoordinatorError } from "./CoordinatorError.ts"
import type { MemberConflict, Membership, MembershipLost } from "./Membership.ts"

/**
 * What a group is used for.
 *
 * **Details**
 *
 * The last two hold what a recipe writes beside its group, so that it never counts as a member: the recorded opening of
 * a barrier and the acknowledgements of a sequence.
 *
 * @category models
 * @since 0.1.0
 */
export type GroupKind = "discovery" | "election" | "lock" | "barrier" | "sequence" | "barrier-opening" | "sequence-ack"

/**
 * A group's kind and name. Names are 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
 *
 * @category models
 * @since 0.1.0
 */
export interface GroupName {
  readonly kind: GroupKind
  readonly name: string
}

/**
 * A place in a group, as an engine can have its store check it: the tenures of `Election` and `Lock`, and of a seat.
 *
 * @category models
 * @since 0.1.0
 */
export interface Claim {
  readonly group: GroupName
  readonly id: string
  readonly ensure: Effect.Effect<bigint, MembershipLost>
}

/**
 * One member of a group.
 *
 * **Details**
 *
 * `token` orders the members and grows with each join within one epoch. `mine` tells whether this coordinator created the entry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Member<out A> {
  readonly id: string
  readonly token: bigint
  readonly value: A
  readonly mine: boolean
}

/**
 * A member whose value does not decode with the reader's schema: it is present, and its raw value is kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface Undecoded {
  readonly member: Member<string>
  readonly detail: string
}

/**
 * Whether a view was read while the link to the store was good.
 *
 * **Details**
 *
 * `since` is the wall time in milliseconds at which the link was lost, or since when the group has changed faster than it can be read;
 * then everything up to the view's revision is in it, and some of what came later may be. A `Stale` view is the last one that was known:
 * fine for sending requests to, never enough to lead, to pass a barrier or to take a seat.
 *
 * @category models
 * @since 0.1.0
 */
export type Freshness =
  | { readonly _tag: "Fresh" }
  | { readonly _tag: "Stale"; readonly since: number; readonly cause: CoordinatorError }

/**
 * The group as the store had it at one revision.
 *
 * **Details**
 *
 * `members` are in token order, computed on the first reading. `size` counts every member, also those that did not
 * decode, which stand in `undecoded`. Revisions and tokens share one number space: a view below my token has not seen me
 * yet, a view at or above it without me says that I am gone. They compare only within one `epoch`, which grows when the
 * store was restored to an earlier state while this process watched.
 *
 * @category models
 * @since 0.1.0
 */
export interface GroupView<out A> {
  readonly members: ReadonlyArray<Member<A>>
  readonly undecoded: ReadonlyArray<Undecoded>
  readonly size: number
  readonly revision: bigint
  readonly epoch: number
  readonly freshness: Freshness
  readonly get: (id: string) => Option.Option<Member<A>>
}

/**
 * One difference between two views.
 *
 * **Details**
 *
 * `Updated` is a new value under the same token. A member that left and came back is a `Left` and a `Joined`.
 *
 * @category models
 * @since 0.1.0
 */
export type Change<A> =
  | { readonly _tag: "Joined"; readonly member: Member<A> }
  | { readonly _tag: "Updated"; readonly member: Member<A>; readonly previous: Member<A> }
  | { readonly _tag: "Left"; readonly member: Member<A> }

/**
 * How to join a group.
 *
 * **Details**
 *
 * - `rejoin` (default `false`): after a loss, join again with the latest value and a new token, for as long as the scope is open.
 * - `onConflict` (default `"wait"`): what to do while another live process holds the id: wait for it to go, or fail with
 *   `MemberConflict`.
 *
 * @category models
 * @since 0.1.0
 */
export interface JoinOptions {
  readonly rejoin?: boolean | undefined
  readonly onConflict?: "wait" | "fail" | undefined
}

/**
 * A named group in the store.
 *
 * **Details**
 *
 * - `join` adds this process and removes it when the scope closes. Abandoned or timed out, it leaves nothing behind.
 * - `list` is one linearizable reading.
 * - `watch` emits the present view first and later views with conflation: a slow reader gets the newest, not a backlog.
 *   It survives reconnects, compaction, restored stores and lost sessions. It ends only by interruption or with an error that waiting
 *   does not cure. All local subscribers share one upstream watch.
 * - `changes` begins with one `Joined` for each present member. Folded from the empty view it always gives the latest view.
 *   A reader that falls behind far enough is given the difference instead of the history.
 * - `awaitTurn` returns the token once no member with a lower token is left, after the store has confirmed the own entry
 *   in a linearizable read and the clocks have confirmed the session, in that order.
 *
 * @category models
 * @since 0.1.0
 */
export interface Group {
  readonly name: GroupName
  readonly join: (
    entry: { readonly id?: string | undefined; readonly value: string },
    options?: JoinOptions
  ) => Effect.Effect<Membership, CoordinatorError | MemberConflict, Scope.Scope>
  readonly list: Effect.Effect<GroupView<string>, CoordinatorError>
  readonly watch: Stream.Stream<GroupView<string>, CoordinatorError>
  readonly changes: Stream.Stream<Change<string>, CoordinatorError>
  readonly awaitTurn: (mine: Membership) => Effect.Effect<bigint, CoordinatorError | MembershipLost>
}

/**
 * A group's kind and name as one text, for messages, spans and metrics.
 *
 * @category accessors
 * @since 0.1.0
 */
export const label = (name: GroupName): string => `${name.kind}/${name.name}`

const fresh: Freshness = { _tag: "Fresh" }

/** Token order; the id decides between equal tokens, which only stores without fencing have. */
const byToken = (a: Member<unknown>, b: Member<unknown>): number =>
  a.token < b.token ? -1 : a.token > b.token ? 1 : a.id < b.id ? -1 : a.id > b.id ? 1 : 0

class View<A> implements GroupView<A> {
  readonly entries: HashMap.HashMap<string, Member<A>>
  readonly revision: bigint
  readonly epoch: number
  readonly freshness: Freshness
  readonly undecoded: ReadonlyArray<Undecoded> = []
  private ordered: ReadonlyArray<Member<A>> | undefined
  /** The order of an earlier view, and whom it is wrong about: for a reader of every view it saves the sorting. */
  private basis: { readonly ordered: ReadonlyArray<Member<A>>; readonly changed: ReadonlySet<string> } | undefined
  constructor(entries: HashMap.HashMap<string, Member<A>>, revision: bigint, epoch: number, freshness: Freshness) {
    this.entries = entries
    this.revision = revision
    this.epoch = epoch
    this.freshness = freshness
  }
  get members(): ReadonlyArray<Member<A>> {
    return (this.ordered ??= this.arrange())
  }
  private arrange(): ReadonlyArray<Member<A>> {
    const basis = this.basis
    this.basis = undefined
    if (basis === undefined) return Array.from(HashMap.values(this.entries)).sort(byToken)
    if (basis.changed.size === 0) return basis.ordered
    const kept = basis.ordered.filter((member) => !basis.changed.has(member.id))
    for (const id of basis.changed) {
      const member = Option.getOrUndefined(this.get(id))
      if (member !== undefined) kept.push(member)
    }
    // Nearly sorted: the sort finds the run that was kept and costs about one pass.
    return kept.sort(byToken)
  }
  /** Makes a later view begin from this one's order, where it is known. */
  inform(later: View<A>, changed: ReadonlySet<string>): View<A> {
    if (this.ordered !== undefined) later.basis = { ordered: this.ordered, changed }
    return later
  }
  get size(): number {
    return HashMap.size(this.entries)
  }
  get(id: string): Option.Option<Member<A>> {
    return HashMap.get(this.entries, id)
  }
}

/** A view seen through a reader's schema. Each raw member is decoded once, however many views and readers it is in. */
class DecodedView<A> implements GroupView<A> {
  private readonly raw: GroupView<string>
  private readonly decode: Decoder<A>
  private split: { readonly good: ReadonlyArray<Member<A>>; readonly bad: ReadonlyArray<Undecoded> } | undefined
  constructor(raw: GroupView<string>, decode: Decoder<A>) {
    this.raw = raw
    this.decode = decode
  }
  private partition() {
    if (this.split === undefined) {
      const good: Array<Member<A>> = []
      const bad: Array<Undecoded> = []
      for (const member of this.raw.members) {
        const decoded = this.decode(member)
        if (decoded._tag === "Decoded") good.push(decoded.member)
        else bad.push(decoded.undecoded)
      }
      this.split = { good, bad }
    }
    return this.split
  }
  get members(): ReadonlyArray<Member<A>> {
    return this.partition().good
  }
  get undecoded(): ReadonlyArray<Undecoded> {
    return this.partition().bad
  }
  get size(): number {
    return this.raw.size
  }
  get revision(): bigint {
    return this.raw.revision
  }
  get epoch(): number {
    return this.raw.epoch
  }
  get freshness(): Freshness {
    return this.raw.freshness
  }
  get(id: string): Option.Option<Member<A>> {
    return Option.flatMap(this.raw.get(id), (member) => {
      const decoded = this.decode(member)
      return decoded._tag === "Decoded" ? Option.some(decoded.member) : Option.none()
    })
  }
}

/**
 * What decoding one member gives.
 *
 * @category models
 * @since 0.1.0
 */
export type Decoded<A> =
  | { readonly _tag: "Decoded"; readonly member: Member<A> }
  | { readonly _tag: "Undecoded"; readonly undecoded: Undecoded }

/**
 * Decodes a raw member; made by {@link makeDecoder}.
 *
 * @category models
 * @since 0.1.0
 */
export type Decoder<A> = (member: Member<string>) => Decoded<A>

/**
 * Makes a decoder that remembers what it decoded, from a function that gives the value or the reason why there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeDecoder = <A>(f: (raw: string) => { readonly value: A } | { readonly detail: string }): Decoder<A> => {
  const known = new WeakMap<Member<string>, Decoded<A>>()
  return (member) => {
    const before = known.get(member)
    if (before !== undefined) return before
    const result = f(member.value)
    const decoded: Decoded<A> =
      "detail" in result
        ? { _tag: "Undecoded", undecoded: { member, detail: result.detail } }
        : { _tag: "Decoded", member: { id: member.id, token: member.token, value: result.value, mine: member.mine } }
    known.set(member, decoded)
    return decoded
  }
}

/**
 * Sees a raw view through a decoder.
 *
 * @category combinators
 * @since 0.1.0
 */
export const decodeView = <A>(view: GroupView<string>, decode: Decoder<A>): GroupView<A> =>
  new DecodedView(view, decode)

/**
 * Sees a raw change through a decoder.
 *
 * **Details**
 *
 * A member whose value does not decode is, for this reader, not there: an update from good to bad is a `Left`, from bad
 * to good a `Joined`, and a change of a member that was never seen is nothing.
 *
 * @category combinators
 * @since 0.1.0
 */
export const decodeChange = <A>(change: Change<string>, decode: Decoder<A>): Change<A> | undefined => {
  const after = decode(change.member)
  if (change._tag !== "Updated") {
    return after._tag === "Decoded" ? { _tag: change._tag, member: after.member } : undefined
  }
  const before = decode(change.previous)
  if (after._tag === "Decoded") {
    return before._tag === "Decoded"
      ? { _tag: "Updated", member: after.member, previous: before.member }
      : { _tag: "Joined", member: after.member }
  }
  return before._tag === "Decoded" ? { _tag: "Left", member: before.member } : undefined
}

/**
 * A view of the given members.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeView = <A>(options: {
  readonly members: Iterable<Member<A>>
  readonly revision: bigint
  readonly epoch?: number | undefined
  readonly freshness?: Freshness | undefined
}): GroupView<A> =>
  new View(
    HashMap.fromIterable(Array.from(options.members, (member) => [member.id, member] as const)),
    options.revision,
    options.epoch ?? 0,
    options.freshness ?? fresh
  )

/**
 * The view with no members, from which folding `changes` begins.
 *
 * @category constructors
 * @since 0.1.0
 */
export const empty = <A = never>(): GroupView<A> => makeView<A>({ members: [], revision: 0n })

/**
 * Applies changes to a view, at most log n for each.
 *
 * **Example** (Folding changes)
 *
 * ```ts
 * import { Group } from "effect-ensemble"
 *
 * const member = { id: "a", token: 1n, value: "hello", mine: true }
 * const joined = Group.applyChanges(Group.empty<string>(), [{ _tag: "Joined", member }])
 * console.log(joined.members.map((m) => m.id)) // => [ 'a' ]
 * console.log(Group.applyChanges(joined, [{ _tag: "Left", member }]).size) // => 0
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const applyChanges = <A>(
  view: GroupView<A>,
  changes: Iterable<Change<A>>,
  at?: { readonly revision: bigint; readonly epoch: number; readonly freshness: Freshness }
): GroupView<A> => {
  const before =
    view instanceof View
      ? (view as View<A>).entries
      : HashMap.fromIterable(view.members.map((member) => [member.id, member] as const))
  const changed = new Set<string>()
  const entries = HashMap.mutate(before, (draft) => {
    for (const change of changes) {
      changed.add(change.member.id)
      if (change._tag === "Left") HashMap.remove(draft, change.member.id)
      else HashMap.set(draft, change.member.id, change.member)
    }
  })
  const after = new View(
    entries,
    at?.revision ?? view.revision,
    at?.epoch ?? view.epoch,
    at?.freshness ?? view.freshness
  )
  return view instanceof View ? (view as View<A>).inform(after, changed) : after
}

/**
 * The changes that lead from one view to another: first those who left, then those who joined or changed, in token
 * order. Costs the size of both views.
 *
 * @category combinators
 * @since 0.1.0
 */
export const diff = (before: GroupView<string>, after: GroupView<string>): ReadonlyArray<Change<string>> => {
  const left: Array<Change<string>> = []
  const arrived: Array<Change<string>> = []
  for (const member of before.members) {
    const now = Option.getOrUndefined(after.get(member.id))
    if (now === undefined || now.token !== member.token) left.push({ _tag: "Left", member })
  }
  for (const member of after.members) {
    const was = Option.getOrUndefined(before.get(member.id))
    if (was === undefined || was.token !== member.token) arrived.push({ _tag: "Joined", member })
    else if (was.value !== member.value) arrived.push({ _tag: "Updated", member, previous: was })
  }
  return [...left, ...arrived]
}

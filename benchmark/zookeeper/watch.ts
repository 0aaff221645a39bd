/** The watch alone: how soon a program that follows a group is told of what somebody else writes, whatever it writes with itself. */
import { Effect } from "effect"
import { makeProbe } from "../fixture.ts"
import type { Row } from "../stores/measure.ts"
import type { Place, Seen, Way } from "../stores/way.ts"
import { valueOf } from "../stores/way.ts"
import { byHand, connect, create, remove } from "./byHand.ts"

/** Where a way's group is. */
const pathOf = (way: Way, { prefix }: Place): string =>
  way.name === byHand.name ? `${prefix}/members` : `${prefix}/discovery/api`

const watched = Effect.fnUntraced(function* (way: Way, place: Place) {
  const pair = yield* way.pair(place)
  const somebody = yield* connect(place)
  const path = pathOf(way, place)
  const probe = makeProbe()
  let wanted: Seen = "Joined"
  pair.onSeen((what) => {
    if (what === wanted) probe.read()
  })
  // A group that is empty may be taken away by the servers.
  probe.expect(1)
  yield* pair.join(0, 1, 1)
  yield* probe.done
  let number = 0
  const untilSeen = (what: Seen, write: (node: string) => Promise<unknown>) =>
    Effect.suspend(() => {
      wanted = what
      probe.expect(1)
      return Effect.andThen(
        Effect.promise(() => write(`${path}/somebody-${number}`)),
        probe.done
      )
    })
  return {
    come: Effect.suspend(() => {
      number++
      return untilSeen("Joined", (node) => create(somebody, node, valueOf(number)))
    }),
    go: untilSeen("Left", (node) => remove(somebody, node))
  }
})

type Watched = Effect.Success<ReturnType<typeof watched>>

export const watch = (places: () => Place): Row<Watched> => ({
  what: "what another client writes, until a program that watches has been told",
  make: (way) => watched(way, places()),
  act: ({ come }) => come,
  rest: ({ go }) => Effect.andThen(go, Effect.sleep("1 millis")),
  samples: 40,
  rounds: 5,
  warmUps: 6
})

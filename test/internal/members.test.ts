import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Group } from "effect-ensemble"

const Step = Schema.Struct({
  id: Schema.Literals(["a", "b", "c", "d", "e"]),
  act: Schema.Literals(["join", "update", "leave"]),
  read: Schema.Boolean
})

describe("members", () => {
  it.effect.prop("are in token order, however many of the views before were read", [Schema.Array(Step)], ([steps]) =>
    Effect.sync(() => {
      let token = 0n
      let view = Group.empty<string>()
      const truth = new Map<string, Group.Member<string>>()
      for (const { act, id, read } of steps) {
        const present = truth.get(id)
        const changes: Array<Group.Change<string>> = []
        if (act === "join") {
          const member = { id, token: ++token, value: "1", mine: false }
          if (present !== undefined) changes.push({ _tag: "Left", member: present })
          changes.push({ _tag: "Joined", member })
          truth.set(id, member)
        } else if (present !== undefined && act === "update") {
          const member = { ...present, value: `${present.value}+` }
          changes.push({ _tag: "Updated", member, previous: present })
          truth.set(id, member)
        } else if (present !== undefined) {
          changes.push({ _tag: "Left", member: present })
          truth.delete(id)
        }
        view = Group.applyChanges(view, changes)
        const wanted = [...truth.values()].sort((x, y) => Number(x.token - y.token))
        if (read) assert.deepStrictEqual(view.members, wanted)
      }
      assert.deepStrictEqual(
        view.members,
        [...truth.values()].sort((x, y) => Number(x.token - y.token))
      )
    })
  )
})

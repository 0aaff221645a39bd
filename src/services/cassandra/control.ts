/**
 * The connection over which the driver learns of the cluster, and how it is made anew.
 *
 * When all nodes were lost, the driver (cassandra-driver 4.10) starts over with its contact points, as if it knew none of them:
 * a node that it knows is replaced by a second one of the same address, whose first one is never closed and has timers and connections
 * of its own; and each time there are more listeners that do so again at the next loss, at once, until one pulls the
 * connection from under another and an error that nobody listens for ends the process.
 *
 * So what is known is left to its pool, which connects again by itself, only addresses that are new are tried, and that by one at a time.
 * Nothing of this is part of the driver's interface: under a driver that is built otherwise, it stays as it is.
 */

interface Control {
  readonly initialized: boolean
  readonly hosts: { readonly get: (address: string) => unknown }
  /** Resolved again by the driver right before it starts over. */
  readonly _contactPoints: Set<string>
  _initializeConnection: () => Promise<unknown>
  /** With a plan, it is a part of the one that runs. */
  _refresh: (plan?: unknown) => Promise<unknown>
}

const has = (value: object, ...methods: ReadonlyArray<string>): boolean =>
  methods.every((method) => typeof Reflect.get(value, method) === "function")

const isControl = (value: unknown): value is Control =>
  typeof value === "object" &&
  value !== null &&
  has(value, "_initializeConnection", "_refresh") &&
  "_contactPoints" in value &&
  value._contactPoints instanceof Set &&
  "hosts" in value &&
  typeof value.hosts === "object" &&
  value.hosts !== null &&
  has(value.hosts, "get")

export const mend = (client: object): void => {
  const control: unknown = Reflect.get(client, "controlConnection")
  if (!isControl(control)) return

  const startOver = control._initializeConnection
  control._initializeConnection = () => {
    if (control.initialized) {
      for (const address of control._contactPoints) {
        if (control.hosts.get(address) !== undefined) control._contactPoints.delete(address)
      }
    }
    return startOver.call(control)
  }

  const refresh = control._refresh
  let running: Promise<unknown> | undefined
  control._refresh = (plan) => {
    if (plan !== undefined) return refresh.call(control, plan)
    running ??= refresh
      .call(control)
      .catch(() => {})
      .finally(() => {
        running = undefined
      })
    return running
  }
}

/** The part of the npm package that is used here; it brings no declarations of its own. */
declare module "node-zookeeper-client" {
  export interface Event {
    readonly getType: () => number
  }
  export interface Stat {
    readonly version: number
  }
  type Watcher = (event: Event) => void
  type Callback<A> = (error: Error | null | undefined, result: A) => void

  export interface Client {
    readonly connect: () => void
    readonly close: () => void
    readonly once: (event: "connected", listener: () => void) => void
    readonly mkdirp: (path: string, callback: Callback<string>) => void
    readonly create: (path: string, data: Buffer, mode: number, callback: Callback<string>) => void
    readonly remove: (path: string, callback: (error: Error | null | undefined) => void) => void
    readonly setData: (path: string, data: Buffer, callback: Callback<Stat>) => void
    readonly getData: (
      path: string,
      watcher: Watcher,
      callback: (error: Error | null | undefined, data: Buffer, stat: Stat) => void
    ) => void
    readonly getChildren: {
      (path: string, callback: Callback<ReadonlyArray<string>>): void
      (path: string, watcher: Watcher, callback: Callback<ReadonlyArray<string>>): void
    }
    readonly exists: (path: string, watcher: Watcher, callback: Callback<Stat | null>) => void
  }

  const zookeeper: {
    readonly createClient: (
      servers: string,
      options: { readonly sessionTimeout: number; readonly spinDelay: number; readonly retries: number }
    ) => Client
    readonly CreateMode: { readonly EPHEMERAL: number; readonly EPHEMERAL_SEQUENTIAL: number }
    readonly Event: { readonly NODE_DELETED: number }
  }
  export default zookeeper
}

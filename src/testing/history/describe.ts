/** The words in which violations speak. */
import type { Moment } from "./truth.ts"

export const describe = (
  members: ReadonlyArray<{ readonly id: string; readonly token: bigint; readonly value?: string }>
) =>
  members.length === 0
    ? "no members"
    : members
        .toSorted((a, b) => (a.token < b.token ? -1 : a.token > b.token ? 1 : 0))
        .map(({ id, token, value }) => (value === undefined ? `${id}#${token}` : `${id}#${token}=${value}`))
        .join(", ")

export const moment = ({ at, order }: Moment): string => `${at} ms (event ${order})`

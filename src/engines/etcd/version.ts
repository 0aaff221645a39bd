/** What depends on a server's version. */

export type Version = readonly [major: number, minor: number, patch: number]

/** The first version that lets a client choose its watch ids. */
export const oldest = "3.4.0"

/** How to be rid of the warning. */
export const remedy = "Use etcd 3.5.13, 3.4.31, 3.6 or later"

export const parse = (text: string): Version | undefined => {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(text) ?? []
  return major === undefined ? undefined : [Number(major), Number(minor), Number(patch)]
}

export const isSupported = ([major, minor]: Version): boolean => major > 3 || (major === 3 && minor >= 4)

/**
 * Before these versions a progress notification could overtake the events that it speaks of (etcd-io/etcd#15220), or never
 * come for a watch without events (etcd-io/etcd#17566 and #17567, the fixes in 3.5.13 and 3.4.31).
 */
export const progressIsTrustworthy = ([major, minor, patch]: Version): boolean =>
  major > 3 || minor > 5 || (minor === 5 && patch >= 13) || (minor === 4 && patch >= 31)

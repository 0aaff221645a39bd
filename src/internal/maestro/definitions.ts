/** Graphs that are known only at run time: what can be wrong with one, all of it at once. */
import * as Graph from "effect/Graph"

export interface Node {
  readonly name: string
  readonly optional?: boolean | undefined
  readonly dependsOn?: ReadonlyArray<Edge> | undefined
}

export type Edge = string | { readonly name: string; readonly optional: true }

/**
 * What is wrong with a graph of definitions.
 *
 * @category models
 * @since 0.1.0
 */
export type GraphProblem =
  | { readonly _tag: "DuplicateName"; readonly service: string }
  | { readonly _tag: "SelfDependency"; readonly service: string }
  | { readonly _tag: "DuplicateEdge"; readonly service: string; readonly dependency: string }
  | { readonly _tag: "MissingService"; readonly service: string; readonly dependency: string }
  | { readonly _tag: "RequiresOptional"; readonly service: string; readonly dependency: string }
  | { readonly _tag: "Cycle"; readonly services: ReadonlyArray<string> }

export const nameOf = (edge: Edge): string => (typeof edge === "string" ? edge : edge.name)

/** One line for each kind of problem, with what to do about it. */
export const describeProblem = (problem: GraphProblem): string => {
  switch (problem._tag) {
    case "DuplicateName":
      return `${problem.service} is defined more than once: give each its own name`
    case "SelfDependency":
      return `${problem.service} depends on itself: take that edge out`
    case "DuplicateEdge":
      return `${problem.service} depends on ${problem.dependency} twice: keep one edge`
    case "MissingService":
      return `${problem.service} depends on ${problem.dependency}, which is not defined`
    case "RequiresOptional":
      return (
        `${problem.service} is required and depends on ${problem.dependency}, which is optional: ` +
        `write the edge as { name: "${problem.dependency}", optional: true } and read it with dependencyOption`
      )
    case "Cycle":
      return `Services depend on one another: ${[...problem.services, problem.services[0]].join(" -> ")}`
  }
}

const edgeProblems = (byName: ReadonlyMap<string, Node>, { dependsOn = [], name, optional }: Node) => {
  const problems: Array<GraphProblem> = []
  const seen = new Set<string>()
  for (const edge of dependsOn) {
    const dependency = nameOf(edge)
    if (seen.has(dependency)) {
      problems.push({ _tag: "DuplicateEdge", service: name, dependency })
      continue
    }
    seen.add(dependency)
    const target = byName.get(dependency)
    if (dependency === name) problems.push({ _tag: "SelfDependency", service: name })
    else if (target === undefined) problems.push({ _tag: "MissingService", service: name, dependency })
    else if (typeof edge === "string" && target.optional === true && optional !== true) {
      problems.push({ _tag: "RequiresOptional", service: name, dependency })
    }
  }
  return problems
}

/** The shortest way from a node back to itself that is shorter than the one known, breadth first within its component. */
const shortestThrough = (
  start: string,
  targets: (name: string) => ReadonlyArray<string>,
  below: number
): ReadonlyArray<string> | undefined => {
  const parents = new Map<string, string>()
  let front = [start]
  for (let length = 1; front.length > 0 && length < below; length++) {
    const next: Array<string> = []
    for (const from of front) {
      for (const to of targets(from)) {
        if (to === start) {
          const path = [from]
          for (let at = parents.get(from); at !== undefined; at = parents.get(at)) path.unshift(at)
          return path
        }
        if (parents.has(to)) continue
        parents.set(to, from)
        next.push(to)
      }
    }
    front = next
  }
  return undefined
}

/** The shortest circle of each strongly connected component, beginning with the name that comes first in it. */
const cycles = (byName: ReadonlyMap<string, Node>): ReadonlyArray<GraphProblem> => {
  const dependenciesOf = (name: string): ReadonlyArray<string> =>
    (byName.get(name)?.dependsOn ?? []).map(nameOf).filter((to) => to !== name && byName.has(to))
  const names: Array<string> = [...byName.keys()]
  const graph = Graph.directed<string, undefined>((mutable) => {
    const indices = new Map(names.map((name) => [name, Graph.addNode(mutable, name)]))
    for (const [name, from] of indices) {
      for (const dependency of dependenciesOf(name)) {
        const to = indices.get(dependency)
        if (to !== undefined) Graph.addEdge(mutable, from, to, undefined)
      }
    }
  })
  return Graph.stronglyConnectedComponents(graph)
    .filter(({ length }) => length > 1)
    .map((component) => {
      const members = new Set(component.map((index) => names[index] ?? ""))
      const targets = (name: string) => dependenciesOf(name).filter((to) => members.has(to))
      let services: ReadonlyArray<string> = []
      // In the order of the names, so that the same graph always gives the same circle.
      for (const start of [...members].toSorted()) {
        services =
          shortestThrough(start, targets, services.length === 0 ? Number.POSITIVE_INFINITY : services.length) ??
          services
      }
      return services
    })
    .toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1))
    .map((services): GraphProblem => ({ _tag: "Cycle", services }))
}

/** Everything that is wrong, in the order of the definitions, the circles last. */
export const problemsOf = (nodes: ReadonlyArray<Node>): ReadonlyArray<GraphProblem> => {
  const byName = new Map<string, Node>()
  const duplicates = new Set<string>()
  for (const node of nodes) {
    if (byName.has(node.name)) duplicates.add(node.name)
    else byName.set(node.name, node)
  }
  return [
    ...Array.from(duplicates, (service): GraphProblem => ({ _tag: "DuplicateName", service })),
    ...[...byName.values()].flatMap((node) => edgeProblems(byName, node)),
    ...cycles(byName)
  ]
}

/** Dependencies before dependents, without recursion. The graph has no problems. */
export const inOrder = <N extends Node>(nodes: ReadonlyArray<N>): ReadonlyArray<N> => {
  const byName = new Map(nodes.map((node) => [node.name, node]))
  const entered = new Set<N>()
  const ordered = new Set<N>()
  const open = [...nodes]
  for (let node = open.at(-1); node !== undefined; node = open.at(-1)) {
    if (entered.has(node)) {
      open.pop()
      ordered.add(node)
      continue
    }
    entered.add(node)
    for (const edge of node.dependsOn ?? []) {
      const dependency = byName.get(nameOf(edge))
      if (dependency !== undefined && !entered.has(dependency)) open.push(dependency)
    }
  }
  return [...ordered]
}

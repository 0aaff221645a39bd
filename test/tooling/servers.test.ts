import { execFile, spawnSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import * as Consul from "../servers/consul.ts"
import * as Etcd from "../servers/etcd.ts"
import * as Java from "../servers/java.ts"
import * as Memcached from "../servers/memcached.ts"
import * as Nats from "../servers/nats.ts"
import * as Postgres from "../servers/postgres.ts"
import type { Distribution } from "../servers/provision.ts"
import * as Redis from "../servers/redis.ts"
import { read, root } from "./source.ts"

let folder = ""
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ensemble-provision-"))
  mkdirSync(join(folder, "bin"))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const program = (name: string, text: string): string => {
  const file = join(folder, "bin", name)
  writeFileSync(file, `#!/bin/bash\n${text}\n`)
  chmodSync(file, 0o755)
  return file
}

const says = (version: string) => `echo "etcd Version: ${version}"`

interface Outcome {
  readonly code: number | null
  /** Of the programs. */
  readonly folder: string
  /** What they need to have in their environment. */
  readonly libraries: string
  readonly stderr: string
}

const code = (distribution: Partial<Distribution>) => `
  import { Effect } from "effect"
  import { distributions } from "./test/servers/etcd.ts"
  import { installationOf } from "./test/servers/provision.ts"
  Effect.runPromise(installationOf({ ...distributions.current, ...${JSON.stringify(distribution)} })).then(
    ({ env, folder }) => console.log(folder, env.LD_LIBRARY_PATH ?? ""),
    (error) => { console.error(error.message); process.exitCode = 1 }
  )`

/** In a process of its own, which sees only the programs that the test has written unless it is given a `PATH`. */
const provision = (
  env: Readonly<Record<string, string>> = {},
  distribution: Partial<Distribution> = {}
): Promise<Outcome> =>
  new Promise((done) => {
    const options = { cwd: root, env: { ENSEMBLE_SERVERS: join(folder, "cache"), PATH: join(folder, "bin"), ...env } }
    const args = ["--input-type=module", "-e", code(distribution)]
    const child = execFile(process.execPath, args, options, (_error, stdout, stderr) => {
      const [folder = "", libraries = ""] = stdout.trim().split(" ")
      done({ code: child.exitCode, folder, libraries, stderr })
    })
  })

/** An apt whose mirror has one package, which holds an etcd of this version. It notes every call. */
const fakeDebian = (version: string): { readonly calls: () => ReadonlyArray<string>; readonly PATH: string } => {
  const log = join(folder, "calls")
  program(
    "apt-get",
    `echo "$*" >> ${log}
    if [[ $* == *--print-uris* ]]; then
      . /etc/os-release
      echo "'http://other.test/apt/dists/stable/InRelease' x 0 "
      echo "'http://mirror.test/debian/dists/$VERSION_CODENAME/InRelease' x 0 "
    else
      lists=$(sed 's/.*Dir::State::lists=\\([^ ]*\\).*/\\1/' <<<"$*")
      mkdir "$lists/busy" || echo overlap >> ${log}
      sleep 0.2 # long enough for others to be in the way
      rmdir "$lists/busy"
      if [[ $* == *download* ]]; then touch etcd.deb
      else cat "$lists"/../sources/* >> ${log}
      fi
    fi`
  )
  program(
    "dpkg-deb",
    `mkdir -p "$3"/{etc,usr/bin,usr/lib/one-linux-gnu,lib/two-linux-gnu}
    echo red > "$3/etc/colour"
    ln -s /etc/colour /etc/nowhere "$3/usr/lib"
    # More lines than fit into a pipe: whoever reads only the first must not kill the program that writes them.
    printf '#!/bin/bash\\nfind "\${LD_LIBRARY_PATH//:*}" >&2 || exit 1\\n${says(version)}\\nfor i in {1..9999}; do echo "Go Version: $i"; done\\n' > "$3/usr/bin/etcd"
    chmod +x "$3/usr/bin/etcd"
    if [[ -e ${folder}/fatal ]]; then kill -9 $PPID; fi`
  )
  return {
    calls: () => readFileSync(log, "utf8").trim().split("\n"),
    PATH: `${join(folder, "bin")}:${process.env["PATH"] ?? ""}`
  }
}

const cached = () => readdirSync(join(folder, "cache")).filter((name) => !/[.](lock|lists)$/.test(name))

describe("the provisioning of servers", () => {
  it("fails where there is nothing, and says what to do", async () => {
    const { code, stderr } = await provision()
    assert.strictEqual(code, 1)
    assert.match(stderr, /There is no "etcd".*bash/)
    assert.match(
      stderr,
      /install etcd 3\.5\.13 or later.*\nENSEMBLE_ETCD_BIN.*docker-compose\.yml.*ENSEMBLE_ETCD_ENDPOINTS/
    )
  })

  it("fails where there is no apt, and says so", async () => {
    for (const tool of ["bash", "dirname", "mkdir"]) program(tool, `exec /bin/${tool} "$@"`)
    const { code, stderr } = await provision()
    assert.strictEqual(code, 1)
    assert.match(stderr, /no apt-get/)
  })

  it("uses the program that the environment names, or refuses it", async () => {
    const good = await provision({ ENSEMBLE_ETCD_BIN: program("mine", says("3.5.99")) })
    assert.deepStrictEqual([good.code, good.folder], [0, join(folder, "bin")])
    const old = await provision({ ENSEMBLE_ETCD_BIN: program("mine", says("3.5.12")) })
    assert.match(old.stderr, /ENSEMBLE_ETCD_BIN=.*mine: it says "etcd Version: 3\.5\.12"/)
    const missing = await provision({ ENSEMBLE_ETCD_BIN: "/nowhere/etcd" })
    assert.match(missing.stderr, /ENSEMBLE_ETCD_BIN=\/nowhere\/etcd: .*ENOENT/)
  })

  it("uses an etcd on the path when its version will do", async () => {
    program("etcd", says("3.6.1"))
    assert.strictEqual((await provision()).folder, join(folder, "bin"))
    program("etcd", says("3.3.25"))
    assert.strictEqual((await provision()).code, 1)
  })

  it("unpacks once, from the mirror that apt knows, and then needs nobody", async () => {
    const { PATH, calls } = fakeDebian("3.5.16")
    const all = await Promise.all([provision({ PATH }), provision({ PATH }), provision({ PATH })])
    for (const { code, folder } of all) {
      assert.strictEqual(code, 0)
      assert.isTrue(existsSync(join(folder, "etcd")))
    }
    assert.strictEqual(calls().filter((call) => call.includes("download")).length, 1)
    assert.strictEqual(all.filter(({ stderr }) => /^\[servers\] etcd Version: 3\.5\.16 .*\n$/.test(stderr)).length, 1)
    assert.isTrue(calls().includes("URIs: http://mirror.test/debian") && calls().includes("Suites: trixie"))
    assert.isTrue(calls().some((call) => call.startsWith("Signed-By: /")))
    rmSync(join(folder, "bin"), { recursive: true })
    const { code, stderr } = await provision()
    assert.deepStrictEqual([code, stderr], [0, ""])
  })

  it("downloads the lists of a suite for one after the other", async () => {
    const { PATH, calls } = fakeDebian("3.5.16")
    const suites = ["trixie", "trixie", "bookworm"]
    const all = await Promise.all(suites.map((suite, n) => provision({ PATH }, { suite, packages: [`package-${n}`] })))
    assert.deepStrictEqual([...new Set(all.map(({ code }) => code))], [0])
    assert.strictEqual(new Set(all.map(({ folder }) => folder)).size, 3)
    const lists = calls().flatMap((call) => /lists=(\S*\.lists)\S* .*\bupdate/.exec(call)?.[1] ?? [])
    const shared = (suite: string) => join(folder, "cache", `${suite}.lists`)
    assert.deepStrictEqual(lists.toSorted(), suites.map(shared).toSorted())
    assert.notInclude(calls(), "overlap")
  })

  it("points links at what was unpacked, and programs at their libraries", async () => {
    const { PATH } = fakeDebian("3.5.16")
    const { folder: programs, libraries } = await provision({ PATH })
    const at = (path: string) => join(programs, "../..", path)
    assert.strictEqual(readFileSync(at("usr/lib/colour"), "utf8"), "red\n")
    assert.strictEqual(readlinkSync(at("usr/lib/nowhere")), "/etc/nowhere")
    assert.sameMembers(libraries.split(":"), [at("usr/lib/one-linux-gnu"), at("lib/two-linux-gnu")])
  })

  it("does not take what was interrupted for done", async () => {
    const { PATH } = fakeDebian("3.5.16")
    writeFileSync(join(folder, "fatal"), "")
    assert.strictEqual((await provision({ PATH })).code, 1)
    assert.isTrue(cached().every((name) => name.endsWith(".unpacking")))
    rmSync(join(folder, "fatal"))
    assert.strictEqual((await provision({ PATH })).code, 0)
    assert.strictEqual(cached().length, 1)
  })

  it("keeps nothing that says to be another version", async () => {
    const { PATH } = fakeDebian("3.4.23")
    const { code, stderr } = await provision({ PATH })
    assert.strictEqual(code, 1)
    assert.match(stderr, /says "etcd Version: 3\.4\.23", which is not wanted/)
    assert.deepStrictEqual(cached(), [])
  })
})

describe("a version", () => {
  const versions: ReadonlyArray<
    readonly [Distribution, accepted: ReadonlyArray<string>, refused: ReadonlyArray<string>]
  > = [
    [Consul.distribution, ["Consul v1.8.7", "Consul v1.21.0"], ["Consul v1.7.9", "Consul v0.9.1"]],
    [Etcd.distributions.current, ["etcd Version: 3.5.13", "etcd Version: 3.6.0"], ["etcd Version: 3.5.12"]],
    [Etcd.distributions.old, ["etcd Version: 3.4.23"], ["etcd Version: 3.4.31", "etcd Version: 3.5.13"]],
    [
      Java.distribution,
      ["openjdk 17.0.15 2025-04-15", "java 21 2023-09-19 LTS", "openjdk 25-ea 2025-09-16"],
      ["openjdk 11.0.27 2025-04-15", "java 9.0.4", 'java version "17"']
    ],
    [Memcached.distribution, ["memcached 1.6.18", "memcached 1.10.1"], ["memcached 1.5.22"]],
    [Nats.distribution, ["nats-server: v2.10.27", "nats-server: v2.11.0"], ["nats-server: v2.9.10"]],
    [
      Postgres.distribution,
      ["postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "postgres (PostgreSQL) 17.5"],
      ["postgres (PostgreSQL) 13.21", "postgres (PostgreSQL) 9.6.24"]
    ],
    [Redis.distribution, ["Redis server v=7.0.15 sha=0:0", "Redis server v=8.0.2 sha=0:0"], ["Redis server v=6.0.16 "]]
  ]

  it.each(versions)("of $name is one to test with or not", ({ accepted }, good, bad) => {
    // By bash, too, which reads the same pattern when a version is unpacked.
    const bash = (line: string) => spawnSync("bash", ["-c", "[[ $0 =~ $1 ]]", line, accepted.source]).status === 0
    for (const line of good) assert.deepStrictEqual([line, accepted.test(line), bash(line)], [line, true, true])
    for (const line of bad) assert.deepStrictEqual([line, accepted.test(line), bash(line)], [line, false, false])
  })
})

/** Each service with the lines that describe it. The file is plain enough to be read by its indentation. */
const services = (): ReadonlyMap<string, string> => {
  const [, text = ""] = read("docker-compose.yml").split(/^services:\n/m)
  const parts = text.split(/^ {2}([\w-]+):\n/m).slice(1)
  return new Map(parts.flatMap((name, index) => (index % 2 === 0 ? [[name, parts[index + 1] ?? ""]] : [])))
}

describe("the compose file", () => {
  it("has etcd", () => {
    assert.isTrue(services().has("etcd"))
  })

  it.each([...services()])("pins %s, checks its health and keeps it on the loopback interface", (_name, text) => {
    // PostgreSQL has no third number, so the system below it is named as well.
    assert.match(text, /^ {4}image: \S+:v?\d+\.\d+(?:\.\d+\S*|-alpine\d+\.\d+)$/m)
    assert.match(text, /^ {4}healthcheck:\n {6}test: /m)
    const ports = /^ {4}ports:\n((?: {6}- .*\n)+)/m.exec(text)?.[1]?.trim().split("\n") ?? []
    assert.isNotEmpty(ports)
    for (const port of ports) assert.match(port, /^\s*- "127\.0\.0\.1:\d+:\d+"$/)
    assert.match(text, /^ {4}(?:tmpfs|volumes):/m)
  })
})

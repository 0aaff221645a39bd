import { execFile } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
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
  readonly stdout: string
  readonly stderr: string
}

const code = `
  import { Effect } from "effect"
  import { distributions } from "./test/servers/etcd.ts"
  import { programsOf } from "./test/servers/provision.ts"
  Effect.runPromise(programsOf(distributions.current)).then(
    (folder) => console.log(folder),
    (error) => { console.error(error.message); process.exitCode = 1 }
  )`

/** In a process of its own, which sees only the programs that the test has written unless it is given a `PATH`. */
const provision = (env: Readonly<Record<string, string>> = {}): Promise<Outcome> =>
  new Promise((done) => {
    const options = { cwd: root, env: { ENSEMBLE_SERVERS: join(folder, "cache"), PATH: join(folder, "bin"), ...env } }
    const child = execFile(process.execPath, ["--input-type=module", "-e", code], options, (_error, stdout, stderr) =>
      done({ code: child.exitCode, stdout: stdout.trim(), stderr })
    )
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
    elif [[ $* == *download* ]]; then touch etcd.deb
    else cat "$(dirname "$0")"/../cache/*.unpacking/sources/* >> ${log}
    fi`
  )
  program(
    "dpkg-deb",
    `mkdir -p "$3/usr/bin"
    # More lines than fit into a pipe: whoever reads only the first must not kill the program that writes them.
    printf '#!/bin/bash\\n${says(version)}\\nfor i in {1..9999}; do echo "Go Version: $i"; done\\n' > "$3/usr/bin/etcd"
    chmod +x "$3/usr/bin/etcd"
    if [[ -e ${folder}/fatal ]]; then kill -9 $PPID; fi`
  )
  return {
    calls: () => readFileSync(log, "utf8").trim().split("\n"),
    PATH: `${join(folder, "bin")}:${process.env["PATH"] ?? ""}`
  }
}

const cached = () => readdirSync(join(folder, "cache")).filter((name) => !name.endsWith(".lock"))

describe("the provisioning of servers", () => {
  it("fails where there is nothing, and says what to do", async () => {
    const { code, stderr } = await provision()
    assert.strictEqual(code, 1)
    assert.match(stderr, /There is no server "etcd".*bash/)
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
    assert.deepStrictEqual([good.code, good.stdout], [0, join(folder, "bin")])
    const old = await provision({ ENSEMBLE_ETCD_BIN: program("mine", says("3.5.12")) })
    assert.match(old.stderr, /ENSEMBLE_ETCD_BIN=.*mine: it says "etcd Version: 3\.5\.12"/)
    const missing = await provision({ ENSEMBLE_ETCD_BIN: "/nowhere/etcd" })
    assert.match(missing.stderr, /ENSEMBLE_ETCD_BIN=\/nowhere\/etcd: .*ENOENT/)
  })

  it("uses an etcd on the path when its version will do", async () => {
    program("etcd", says("3.6.1"))
    assert.strictEqual((await provision()).stdout, join(folder, "bin"))
    program("etcd", says("3.3.25"))
    assert.strictEqual((await provision()).code, 1)
  })

  it("unpacks once, from the mirror that apt knows, and then needs nobody", async () => {
    const { PATH, calls } = fakeDebian("3.5.16")
    const all = await Promise.all([provision({ PATH }), provision({ PATH }), provision({ PATH })])
    for (const { code, stdout } of all) {
      assert.strictEqual(code, 0)
      assert.isTrue(existsSync(join(stdout, "etcd")))
    }
    assert.strictEqual(calls().filter((call) => call.includes("download")).length, 1)
    assert.strictEqual(all.filter(({ stderr }) => /^\[servers\] etcd Version: 3\.5\.16 .*\n$/.test(stderr)).length, 1)
    assert.isTrue(calls().includes("URIs: http://mirror.test/debian") && calls().includes("Suites: trixie"))
    assert.isTrue(calls().some((call) => call.startsWith("Signed-By: /")))
    rmSync(join(folder, "bin"), { recursive: true })
    const { code, stderr } = await provision()
    assert.deepStrictEqual([code, stderr], [0, ""])
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
    assert.match(text, /^ {4}image: \S+:v?\d+\.\d+\.\d+\S*$/m)
    assert.match(text, /^ {4}healthcheck:\n {6}test: /m)
    const ports = /^ {4}ports:\n((?: {6}- .*\n)+)/m.exec(text)?.[1]?.trim().split("\n") ?? []
    assert.isNotEmpty(ports)
    for (const port of ports) assert.match(port, /^\s*- "127\.0\.0\.1:\d+:\d+"$/)
    assert.match(text, /^ {4}(?:tmpfs|volumes):/m)
  })
})

import { Effect } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "./run.ts"

/** Files of one certificate authority that lives as long as its folder, and the contents that a client needs. */
export interface Tls {
  readonly caFile: string
  readonly serverCertFile: string
  readonly serverKeyFile: string
  readonly clientCertFile: string
  readonly clientKeyFile: string
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
const days = ["-days", "2"]

/** Without a common name: etcd takes that for a user's, and its gateway refuses a certificate that has one. */
const subject = ["-subj", "/O=ensemble"]

/** A certificate authority, a certificate for servers on the loopback interface, and one for a client. */
export const make = Effect.fnUntraced(function* (folder: string) {
  const at = (name: string) => join(folder, name)
  const authority = ["-keyout", at("ca.key"), "-out", at("ca.pem")]
  const sign = Effect.fnUntraced(function* (name: string, extensions: string) {
    const [ext, csr, pem] = [at(`${name}.ext`), at(`${name}.csr`), at(`${name}.pem`)]
    writeFileSync(ext, extensions)
    yield* run("openssl", ["req", ...newKey, ...subject, "-keyout", at(`${name}.key`), "-out", csr])
    const signer = ["-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial"]
    yield* run("openssl", ["x509", "-req", "-in", csr, "-out", pem, "-extfile", ext, ...days, ...signer])
  })
  yield* run("openssl", ["req", "-x509", ...newKey, ...days, ...subject, ...authority])
  // etcd's gateway is a client of its own server, with the server's certificate.
  yield* sign("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
  yield* sign("client", "extendedKeyUsage=clientAuth\n")
  const tls: Tls = {
    caFile: at("ca.pem"),
    serverCertFile: at("server.pem"),
    serverKeyFile: at("server.key"),
    clientCertFile: at("client.pem"),
    clientKeyFile: at("client.key")
  }
  return tls
})

/** The contents that a client needs: with a certificate of its own where the server asks for one. */
export const credentialsOf = (tls: Tls, mutual: boolean) => ({
  ca: readFileSync(tls.caFile, "utf8"),
  ...(mutual ? { cert: readFileSync(tls.clientCertFile, "utf8"), key: readFileSync(tls.clientKeyFile, "utf8") } : {})
})

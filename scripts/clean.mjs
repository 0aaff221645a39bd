import { rmSync } from "node:fs"

// A module that was renamed must not live on in what is published.
rmSync(new URL("../dist", import.meta.url), { force: true, recursive: true })

import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src/", import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-ensemble$/, replacement: `${src}index.ts` },
      { find: /^effect-ensemble\/testing$/, replacement: `${src}testing/index.ts` },
      { find: /^effect-ensemble\/(.+)$/, replacement: `${src}$1.ts` }
    ]
  },
  test: {
    pool: "forks",
    reporters: ["default", "json"],
    outputFile: { json: ".cache/vitest.json" },
    projects: [
      {
        extends: true,
        test: {
          name: "virtual",
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**"],
          // Not 0: on a machine that has only one worker for them, files of order 0 run after all others.
          sequence: { groupOrder: 1 },
          // They take no real time but that of a busy machine.
          testTimeout: 120_000,
          hookTimeout: 120_000
        }
      },
      {
        extends: true,
        test: {
          name: "real",
          include: ["test/real/**/*.test.ts"],
          globalSetup: "test/servers/setup.ts",
          // After the others and two files at a time, however many processors there are: a busy machine delays renewals, and every
          // lease is real. Most of the time is spent waiting for servers.
          sequence: { groupOrder: 2 },
          maxWorkers: 2,
          // Cases that run side by side mostly wait for leases.
          maxConcurrency: 24,
          // Above what the slowest server may take to start.
          testTimeout: 240_000,
          hookTimeout: 240_000
        }
      }
    ]
  }
})

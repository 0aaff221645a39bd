/** What a benchmark has to say, and its form for a person. */

export interface Table {
  readonly title: string
  readonly columns: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
}

/** What is wanted, what was found, and whether that is enough. */
export interface Verdict {
  readonly wanted: string
  readonly found: string
  readonly met: boolean
}

export interface Report {
  readonly name: string
  readonly title: string
  readonly tables: ReadonlyArray<Table>
  readonly verdicts: ReadonlyArray<Verdict>
  /** What has to be known to read the tables. */
  readonly notes?: ReadonlyArray<string>
}

/** Three significant digits, and no exponent: 12,300 rather than 1.23e4. */
export const digits = (value: number): string =>
  Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString("en-US")
    : value
        .toPrecision(3)
        .replace(/(\.\d*?)0+$/, "$1")
        .replace(/\.$/, "")

export const count = (value: number): string => value.toLocaleString("en-US")

export const timesOf = (ratio: number): string => `${ratio.toFixed(2)} x`

export const verdict = (wanted: string, found: string, met: boolean): Verdict => ({ wanted, found, met })

const cells = (row: ReadonlyArray<string>): string => `| ${row.join(" | ")} |`

const table = ({ columns, rows, title }: Table): string =>
  [
    `**${title}**`,
    "",
    cells(columns),
    cells(columns.map((_, index) => (index === 0 ? "---" : "---:"))),
    ...rows.map(cells)
  ].join("\n")

export const markdown = ({ notes = [], tables, title, verdicts }: Report): string =>
  [
    `### ${title}`,
    ...tables.map(table),
    ...(notes.length > 0 ? [notes.map((note) => `${note}.`).join("\n")] : []),
    verdicts.map(({ found, met, wanted }) => `- ${met ? "met" : "**short**"}: ${wanted}. Found: ${found}.`).join("\n")
  ].join("\n\n")

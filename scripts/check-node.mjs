// Runs before everything else, also on a Node too old for the rest: keep to syntax that any Node can parse.
var needed = [22, 19]
var running = process.versions.node.split(".").map(Number)
if (running[0] < needed[0] || (running[0] === needed[0] && running[1] < needed[1])) {
  console.error(
    "This project needs Node " +
      needed.join(".") +
      " or newer; this is " +
      process.versions.node +
      ".\n" +
      "`npm ci` installs one, and scripts started with `npm run` find it first. If it did and you still read this,\n" +
      "install scripts were switched off: run `npm rebuild node`."
  )
  process.exit(1)
}

/**
 * Text to UTF-8 and back, without the encoder classes of the web: no global of a platform compiles here, and names in
 * ZooKeeper are short and almost always ASCII, for which a loop is as fast.
 */

/** The character that stands for what is not one, as in Java's decoder and that of the web. */
const replacement = 0xfffd

/** Writes the text at the offset and answers where it ends. The target must have room for three bytes a code unit. */
export const write = (text: string, target: Uint8Array, offset: number): number => {
  let at = offset
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i)
    if (code < 0x80) {
      target[at++] = code
      continue
    }
    if (code >= 0xd800 && code < 0xe000) {
      const low = text.charCodeAt(i + 1)
      if (code < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
        i++
      } else {
        code = replacement
      }
    }
    if (code < 0x800) {
      target[at++] = 0xc0 | (code >> 6)
    } else {
      if (code < 0x10000) {
        target[at++] = 0xe0 | (code >> 12)
      } else {
        target[at++] = 0xf0 | (code >> 18)
        target[at++] = 0x80 | ((code >> 12) & 0x3f)
      }
      target[at++] = 0x80 | ((code >> 6) & 0x3f)
    }
    target[at++] = 0x80 | (code & 0x3f)
  }
  return at
}

const isAscii = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return false
  return true
}

/** The text as bytes of its own. */
export const encode = (text: string): Uint8Array => {
  const ascii = isAscii(text)
  const target = new Uint8Array(ascii ? text.length : text.length * 3)
  const end = write(text, target, 0)
  return ascii ? target : target.slice(0, end)
}

/** The smallest code point that may take this many continuation bytes: a longer form of a shorter one is not UTF-8. */
const smallest = [0, 0x80, 0x800, 0x10000]

/** The most arguments of one call, far below what a stack holds. */
const mostAtOnce = 1024

/** ASCII as text, many characters at once: a text that is put together of single ones is a tree of them, and lists of names are long. */
const ascii = (bytes: Uint8Array, start: number, end: number): string => {
  let text = ""
  for (let at = start; at < end; at += mostAtOnce) {
    const codes = Array<number>(Math.min(mostAtOnce, end - at))
    for (let i = 0; i < codes.length; i++) codes[i] = bytes[at + i] as number
    text += String.fromCharCode(...codes)
  }
  return text
}

/** The bytes as text; what is not UTF-8 becomes U+FFFD. Total: whatever the bytes, it answers and never throws. */
export const decode = (bytes: Uint8Array, start = 0, end = bytes.length): string => {
  let at = start
  while (at < end && (bytes[at] as number) < 0x80) at++
  let text = ascii(bytes, start, at)
  while (at < end) {
    const first = bytes[at++] as number
    if (first < 0x80) {
      text += String.fromCharCode(first)
      continue
    }
    const more =
      first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0
    let code = more === 1 ? first & 0x1f : more === 2 ? first & 0x0f : first & 0x07
    let read = 0
    while (read < more && at < end && ((bytes[at] as number) & 0xc0) === 0x80) {
      code = (code << 6) | ((bytes[at++] as number) & 0x3f)
      read++
    }
    const good =
      more > 0 &&
      read === more &&
      code >= (smallest[more] as number) &&
      code <= 0x10ffff &&
      !(code >= 0xd800 && code < 0xe000)
    text += good ? String.fromCodePoint(code) : "\ufffd"
  }
  return text
}

/** Bytes of a text in UTF-8, without making them: values are checked on every write. */
export const byteLength = (text: string): number => {
  let bytes = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // A surrogate pair is four bytes in two units; a lone surrogate is replaced by a character of three.
    const paired = unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00
    bytes += unit < 0x80 ? 1 : unit < 0x800 ? 2 : paired ? 4 : 3
    if (paired) i++
  }
  return bytes
}

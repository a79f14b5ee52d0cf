// The page's part of mp4: the end of a fragment, and its codec. A box is length, name, content.

const name = (bytes, at) => String.fromCharCode(...bytes.subarray(at + 4, at + 8));

/** Splits a stream of bytes into whole fragments. Each ends with its `mdat`. */
export class Splitter {
  #rest = new Uint8Array(0);

  /** Adds bytes and returns the fragments that they complete. */
  push(bytes) {
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    const fragments = [];
    const view = new DataView(all.buffer);
    let start = 0, at = 0;
    while (at + 8 <= all.length && at + view.getUint32(at) <= all.length) {
      const size = view.getUint32(at);
      if (size < 8) throw new Error(`a box of ${size} bytes in the stream`);
      const isLast = name(all, at) === "mdat";
      at += size;
      if (isLast) {
        fragments.push(all.slice(start, at));
        start = at;
      }
    }
    this.#rest = all.slice(start);
    return fragments;
  }
}

/** The media type of a first fragment, such as `video/mp4; codecs="avc1.64000c"`, from its box `avcC`. */
export function mediaType(fragment) {
  for (let at = 0; at + 12 <= fragment.length; at++) {
    if (name(fragment, at) !== "avcC") continue;
    const codec = [...fragment.subarray(at + 9, at + 12)].map((one) => one.toString(16).padStart(2, "0")).join("");
    return `video/mp4; codecs="avc1.${codec}"`;
  }
  throw new Error("the stream does not begin with an H.264 header");
}

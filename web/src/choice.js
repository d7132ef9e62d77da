// How to play a stream in this browser, or why it cannot. Opens nothing: what the browser can do is told to it.

export const PROTOCOLS = { flv: "HTTP-FLV", "ll-hls": "LL-HLS", hls: "HLS", native: "HLS by the browser" };

const CODECS = [
  [/^avc[13]/, "H.264"],
  [/^(hvc1|hev1)/, "H.265 (HEVC)"],
  [/^av01/, "AV1"],
  [/^vp09/, "VP9"],
  [/^vp8|^vp08/, "VP8"],
  [/^mp4a\.40/, "AAC"],
  [/^opus$/i, "Opus"],
];
const IN_FLV = /^(avc1|hvc1|hev1|av01|mp4a\.40|opus$|mp3$|mp4a\.6[9bB])/i; // what mpegts.js takes from FLV
const PICTURES = /^(avc|hvc|hev|av0|vp)/;

/** What a browser can do: `mse(type)` and `native(type)` say whether it decodes a type, by MediaSource and by itself. */
export function browser(scope = globalThis, video = scope.document?.createElement("video")) {
  const source = scope.MediaSource ?? scope.ManagedMediaSource;
  return {
    flv: Boolean(scope.MediaSource),
    hls: Boolean(source),
    native: Boolean(video?.canPlayType("application/vnd.apple.mpegurl")),
    decodes: (type) => (source ? source.isTypeSupported(type) : video?.canPlayType(type) !== ""),
  };
}

/** The protocols that may be wished for, of the `PROTOCOLS`. */
export const possible = (can) => Object.keys(PROTOCOLS).filter((protocol) => ({ flv: can.flv, native: can.native })[protocol] ?? can.hls);

/**
 * `wish` is a protocol, or empty for the best one; `codecs` are the stream's RFC 6381 strings as far as they are known,
 * `rungs` how many qualities there are. Gives `{protocol}`, or `{refusal}` in words.
 *
 * FLV is nearest to the present and costs an edge least, so it comes first where there is one quality to play; HLS can
 * change between several, and goes on by itself where mpegts.js knows no such codec.
 */
export function choose(wish, { codecs, rungs }, can) {
  const foreign = codecs.filter((codec) => !can.decodes(typeOf(codec)));
  if (foreign.length) return { refusal: refusal(foreign) };
  const may = possible(can).filter((protocol) => protocol !== "flv" || codecs.every((codec) => IN_FLV.test(codec)));
  if (wish && may.includes(wish)) return { protocol: wish };
  if (wish) return { refusal: `${PROTOCOLS[wish]} cannot carry this stream to this browser: choose another protocol` };
  const order = rungs > 1 ? ["ll-hls", "flv", "native"] : ["flv", "ll-hls", "native"];
  const protocol = order.find((it) => may.includes(it));
  return protocol ? { protocol } : { refusal: "this browser has neither Media Source Extensions nor HLS of its own" };
}

/** Says that these codecs cannot be decoded here, and what does. */
export function refusal(codecs) {
  const named = codecs.map((codec) => `${nameOf(codec)}, ${codec}`).join("; ");
  const rest = codecs.some((codec) => PICTURES.test(codec)) ? "Safari, or Chrome where the hardware decodes it" : "another browser";
  return `this browser cannot decode the stream's codec (${named}). Try ${rest}, or VLC`;
}

/** The codec's name as people know it. */
export const nameOf = (codec) => CODECS.find(([pattern]) => pattern.test(codec))?.[1] ?? codec;

const typeOf = (codec) => `${PICTURES.test(codec) ? "video" : "audio"}/mp4; codecs="${codec}"`;

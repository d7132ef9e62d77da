// Numbers as people read them.

const step = (value, units, base) => {
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
};

export const bits = (bps) => step(bps ?? 0, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"], 1000);
export const count = (n) => (n ?? 0).toLocaleString("en-GB");
export const percent = (share) => `${Math.round((share ?? 0) * 100)} %`;
export const kilometres = (km) => `${count(Math.round(km))} km`;
export const milliseconds = (ms) => `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
export const seconds = (s) => `${s.toFixed(1)} s`;

export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/* Numbers as texts: exact ones for files, short ones for the screen.

Conventions: NaN is a frame without a value, and an empty text. */

/** The shortest decimal that reads back as the same float32 ("f4") or float64 ("f8"). */
function exactText(value, type) {
  if (Number.isNaN(value)) return "";
  if (Object.is(value, -0)) return "-0";
  if (type === "f8" || !Number.isFinite(value)) return String(value);
  // Six digits are always too few or exactly enough, so shorter texts come out of them by
  // themselves; only the tiniest numbers of float32 have fewer digits than that.
  const fewest = Math.abs(value) < 2 ** -126 ? 1 : 6;
  for (let digits = fewest; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return String(candidate);
  }
  return String(Number(value.toPrecision(9)));
}

/** Six decimals as Python's "%.6f" writes them: halves go to the even digit. */
function sixDecimals(value) {
  if (Object.is(value, -0)) return "-0.000000";
  // A half of the sixth decimal is a float only where the number is an odd multiple of 1/128.
  const parts = value * 128;
  if (Number.isInteger(parts) && parts % 2 !== 0) {
    const seven = Math.abs(value).toFixed(7); // exact: 1/128 has seven decimals
    const isEven = Number(seven.at(-2)) % 2 === 0;
    const cut = isEven ? seven.slice(0, -1) : Math.abs(value).toFixed(6);
    return value < 0 ? `-${cut}` : cut;
  }
  return value.toFixed(6);
}

/** A few decimals for the screen, with a real minus sign; "–" for no value. */
function shortText(value, decimals = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(1).replace("-", "−");
  const digits = size.toFixed(size >= 100 ? 1 : decimals);
  return value < 0 && Number(digits) !== 0 ? `−${digits}` : digits;
}

/** Seconds as 0:12.34 or 1:02:03.45. */
function clockText(seconds, decimals = 2) {
  const sign = seconds < 0 ? "−" : "";
  const rounded = Number(Math.abs(seconds).toFixed(decimals));
  const hours = Math.floor(rounded / 3600);
  const minutes = Math.floor(rounded / 60) % 60;
  const rest = (rounded % 60).toFixed(decimals);
  const padded = rest.padStart(decimals > 0 ? decimals + 3 : 2, "0");
  if (hours > 0) return `${sign}${hours}:${String(minutes).padStart(2, "0")}:${padded}`;
  return `${sign}${minutes}:${padded}`;
}

/** The smallest and largest number of arrays, NaN left out; [Infinity, -Infinity] for none. */
function extremes(arrays) {
  let low = Infinity;
  let high = -Infinity;
  for (const values of arrays) {
    for (let frame = 0; frame < values.length; frame++) {
      if (values[frame] < low) low = values[frame];
      if (values[frame] > high) high = values[frame];
    }
  }
  return [low, high];
}

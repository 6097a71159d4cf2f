/* Wilson's interval, for choices that only this page knows of. */

/** The 97.5 % quantile of the normal distribution. */
const Z = 1.959963984540054;

/**
 * The 95 % interval of a share (Wilson 1927).
 * @param {number} hits @param {number} of at least 1
 * @returns {[number, number]}
 */
export function wilson(hits, of) {
  const share = hits / of;
  const scale = 1 + Z ** 2 / of;
  const centre = (share + Z ** 2 / (2 * of)) / scale;
  const half = (Z * Math.sqrt((share * (1 - share)) / of + Z ** 2 / (4 * of ** 2))) / scale;
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

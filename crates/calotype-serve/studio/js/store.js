/* What the browser remembers between visits. Nothing of it is needed: storage may be refused. */

/** @param {string} key @param {any} [fallback] */
export function recall(key, fallback = null) {
  try {
    const text = localStorage.getItem(`calotype.${key}`);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** @param {string} key @param {any} value null forgets it */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(`calotype.${key}`);
    else localStorage.setItem(`calotype.${key}`, JSON.stringify(value));
  } catch { /* private windows have no storage */ }
}

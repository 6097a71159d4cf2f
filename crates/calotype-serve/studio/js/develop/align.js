/* Two prompts, word by word: what stayed, what became something else. */

/**
 * The longest common subsequence, as pairs of places; a word that has no partner has null.
 * Words replaced one for one are partners, so that "cat" in one picture answers "dog" in the other.
 * @param {string[]} before @param {string[]} after
 * @returns {[number|null, number|null][]} in the order of `after`
 */
export function align(before, after) {
  const common = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      common[i][j] = before[i] === after[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const pairs = [];
  let [gone, come] = [[], []];
  const flush = () => {
    for (let k = 0; k < Math.max(gone.length, come.length); k += 1) pairs.push([gone[k] ?? null, come[k] ?? null]);
    [gone, come] = [[], []];
  };
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      flush();
      pairs.push([i, j]);
      i += 1;
      j += 1;
    } else if (j >= after.length || (i < before.length && common[i + 1][j] >= common[i][j + 1])) {
      gone.push(i);
      i += 1;
    } else {
      come.push(j);
      j += 1;
    }
  }
  flush();
  return pairs;
}

/** A prompt as words, for telling what changed. @param {string} text */
const wordsOf = (text) => text.toLowerCase().match(/[\p{L}]+|\d|[^\s\p{L}\d]+/gu) ?? [];

/** What changed from one prompt to another, in words: `cat → dog`. @param {string} before @param {string} after */
export function changes(before, after) {
  const [a, b] = [wordsOf(before), wordsOf(after)];
  const runs = [];
  let open = null;
  for (const [i, j] of align(a, b)) {
    if (i !== null && j !== null && a[i] === b[j]) { open = null; continue; }
    if (!open) runs.push(open = { gone: [], come: [] });
    if (i !== null) open.gone.push(a[i]);
    if (j !== null) open.come.push(b[j]);
  }
  return runs.map(({ gone, come }) => ({ gone: gone.join(' '), come: come.join(' ') }));
}

/**
 * Rows of the words of one or more pictures. Pictures of one prompt share their rows; two of different prompts are aligned.
 * @param {({words: {word: string, share?: number}[]}|null)[]} maps
 * @returns {import('./view.js').Row[]}
 */
export function rowsOf(maps) {
  const last = maps[maps.length - 1];
  if (!last) return [];
  const names = (one) => one.words.map(({ word }) => word);
  const share = (one, index) => (index === null || !one ? null : one.words[index]?.share ?? null);
  const first = maps[0];
  if (maps.length === 2 && first && names(first).join(' ') !== names(last).join(' ')) {
    const [a, b] = [names(first), names(last)];
    return align(a, b).map(([i, j]) => ({
      label: i === null ? b[j] : j === null ? a[i] : a[i] === b[j] ? a[i] : `${a[i]} → ${b[j]}`,
      words: [i === null ? null : a[i], j === null ? null : b[j]],
      indices: [i, j],
      shares: [share(first, i), share(last, j)],
      changed: i === null || j === null || a[i] !== b[j],
    }));
  }
  return last.words.map(({ word }, index) => ({
    label: word,
    words: maps.map(() => word),
    indices: maps.map((one) => (one && one.words[index]?.word === word ? index : null)),
    shares: maps.map((one) => share(one, index)),
    changed: false,
  }));
}

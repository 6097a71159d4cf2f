/* A recipe's text, read and changed key by key, with its comments and its order left alone. Not a parser: the server checks. */

const HEAD = /^\s*\[([^[\]]+)\]\s*(#.*)?$/;
const LINE = /^\s*([A-Za-z0-9_-]+)\s*=\s*(.*)$/;

/* The value of a line, without the comment that may follow it. */
function value(text) {
  let quoted = null;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter === quoted && text[at - 1] !== '\\') quoted = null;
    } else if (letter === '"' || letter === "'") quoted = letter;
    else if (letter === '#') return text.slice(0, at).trim();
  }
  return text.trim();
}

/** Every key of a recipe with its value as it is written: `vae.training.steps` → `600`. @param {string} text @returns {Map<string, string>} */
export function readToml(text) {
  const values = new Map();
  let section = '';
  for (const line of text.split('\n')) {
    const head = HEAD.exec(line);
    const pair = LINE.exec(line);
    if (head) section = `${head[1].trim()}.`;
    else if (pair) values.set(section + pair[1], value(pair[2]));
  }
  return values;
}

/**
 * The recipe with another value, or without the key.
 * @param {string} text @param {string} path @param {string|null} raw as TOML writes it; null leaves the default
 */
export function writeToml(text, path, raw) {
  const lines = text.split('\n');
  const cut = path.lastIndexOf('.');
  const [section, name] = cut < 0 ? ['', path] : [path.slice(0, cut), path.slice(cut + 1)];
  let current = '';
  let end = section === '' ? 0 : -1;
  for (let index = 0; index < lines.length; index += 1) {
    const head = HEAD.exec(lines[index]);
    if (head) current = head[1].trim();
    if (current !== section) continue;
    const pair = LINE.exec(lines[index]);
    if (pair?.[1] === name) {
      const comment = pair[2].slice(value(pair[2]).length).trimEnd();
      if (raw === null) lines.splice(index, 1);
      else lines[index] = `${name} = ${raw}${comment}`;
      return lines.join('\n');
    }
    // New keys go below the last line of their section that says something.
    if (lines[index].trim() && !lines[index].trim().startsWith('#')) end = index + 1;
  }
  if (raw === null) return text;
  if (end < 0) return `${text.trimEnd()}\n\n[${section}]\n${name} = ${raw}\n`;
  lines.splice(end, 0, `${name} = ${raw}`);
  return lines.join('\n');
}

/** A value of the form as TOML. @param {string} type @param {string|boolean} input */
export function toRaw(type, input) {
  if (type === 'boolean') return String(input);
  if (type === 'string' || type === 'choice') return JSON.stringify(input);
  return String(input).trim();
}

/** What the form shows of a value. @param {string|undefined} raw */
export function fromRaw(raw) {
  if (raw === undefined) return '';
  const text = /^"(.*)"$/.exec(raw) ?? /^'(.*)'$/.exec(raw);
  return text ? text[1] : raw;
}

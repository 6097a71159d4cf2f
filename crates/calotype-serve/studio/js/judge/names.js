/* What the numbers are called by who reads them, and in which order they matter. */
import { plain } from '../dom.js';

const LABELS = {
  prompts: 'Whole prompts', prompt_accuracy: 'Whole prompts', nouns: 'Nouns', noun_accuracy: 'Nouns',
  relations: 'Relations, both nouns found', relation_accuracy: 'Relations, both nouns found', sizes: 'Sizes',
    colours: 'Background colour', colour_accuracy: 'Background colour',
  counts: 'Number of objects', everything: 'Everything right', everything_accuracy: 'Everything right',
    reconstruction_psnr: 'Reconstruction PSNR, dB', reconstruction_ssim: 'Reconstruction SSIM',
  fd_clip: 'fd-clip (lower is better)', is_clip: 'is-clip', clip_retrieval_at_1: 'CLIP retrieval at 1',
    heat_map_pointing: 'Heat map points inside the object',
  heat_map_mass_inside: 'Heat inside the object',
};
const KINDS = { unseen_pairs: 'unseen pairs', seen_pairs: 'seen pairs', other_prompt: 'another prompt',
  rendered_scenes: 'rendered scenes' };
const SUFFIXES = { seen_pairs: 'seen pairs', unconditional: 'empty prompt', chance: 'by chance', ground_truth: 'rendered scenes',
  reconstruction: 'reconstructions' };
const ORDER = Object.keys(LABELS);

/**
 * The name of a metric, for a person.
 * @param {string} key
 * @param {string[]} [all] the keys beside it: where there is one of seen pairs, the plain one is of unseen pairs
 */
export function metricLabel(key, all = []) {
  const [kind, ...rest] = key.split(/[./]/);
  if (rest.length && KINDS[kind]) return `${LABELS[rest.join('.')] ?? readable(rest.join(' '))}, ${KINDS[kind]}`;
  if (LABELS[key]) return all.includes(`${key}_seen_pairs`) ? `${LABELS[key]}, unseen pairs` : LABELS[key];
  for (const [suffix, name] of Object.entries(SUFFIXES)) {
    const base = key.endsWith(`_${suffix}`) ? key.slice(0, -suffix.length - 1) : null;
    if (base && LABELS[base]) return `${LABELS[base]}, ${name}`;
  }
  return readable(key);
}

/** Numbers that matter most come first; those of unseen pairs before those of seen ones. @param {string[]} keys */
export function sortMetrics(keys) {
  const place = (key) => {
    const parts = key.split(/[./]/);
    const name = parts[parts.length - 1];
    const suffix = Object.keys(SUFFIXES).findIndex((each) => name.endsWith(`_${each}`));
    const base = suffix < 0 ? name : name.slice(0, -Object.keys(SUFFIXES)[suffix].length - 1);
    const at = ORDER.indexOf(base);
    return (at < 0 ? ORDER.length : at) * 10 + Math.max(0, Object.keys(KINDS).indexOf(parts[0])) + suffix + 1;
  };
  return [...keys].sort((a, b) => place(a) - place(b));
}

/** A model's name; that of a run is told apart. @param {string} name */
export const modelLabel = (name) => name.replace(/^run:(.*)$/, '$1 (run)');

/** Whether a metric is a share, and can stand on an axis from 0 to 100 %. @param {object} metric */
export const isShare = ({ value, low, high }, key) => Number.isFinite(value) && value >= 0 && value <= 1
  && (low ?? 0) >= -1e-9 && (high ?? 1) <= 1 + 1e-9 && !/ssim|lpips|p_value|(^|[._])(fd|fid|kid|loss|mse)/.test(key);

const readable = (key) => {
  const text = plain(key.replace(/[./]/g, ' '));
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/*
 * What of the studio can be checked without a browser: alignment of prompts, recipes as text, axes, maps.
 *
 *     node --test tools/studio/units.mjs          (Node 20.19 or newer)
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import test from 'node:test';
import { linearTicks, logTicks, scale, smooth, tickText } from '../../crates/calotype-serve/studio/js/chart/ticks.js';
import { align, changes, rowsOf } from '../../crates/calotype-serve/studio/js/develop/align.js';
import { sample } from '../../crates/calotype-serve/studio/js/develop/heat.js';
import { extrasOf, settingsOf } from '../../crates/calotype-serve/studio/js/develop/request.js';
import { wilson } from '../../crates/calotype-serve/studio/js/judge/wilson.js';
import { fromRaw, readToml, toRaw, writeToml } from '../../crates/calotype-serve/studio/js/train/toml.js';

test('a replaced word is the partner of the one that it replaces', () => {
  assert.deepEqual(align(['a', 'cat', 'left'], ['a', 'dog', 'left']), [[0, 0], [1, 1], [2, 2]]);
  assert.deepEqual(align(['a', 'cat'], ['a', 'small', 'cat']), [[0, 0], [null, 1], [1, 2]]);
  assert.deepEqual(align(['a', 'red', 'cat'], ['a', 'cat']), [[0, 0], [1, null], [2, 1]]);
  assert.deepEqual(align([], ['cat']), [[null, 0]]);
});

test('a change is told in words', () => {
  assert.deepEqual(changes('a cat left of a window', 'a small dog left of a window'), [{ gone: 'cat', come: 'small dog' }]);
  assert.deepEqual(changes('A cat', 'a cat'), []);
  assert.deepEqual(changes('a cat', 'a cat and a dog'), [{ gone: '', come: 'and a dog' }]);
});

test('rows of two pictures are aligned, those of one prompt shared', () => {
  const maps = (...words) => ({ words: words.map((word) => ({ word, share: 0.5 })) });
  assert.deepEqual(rowsOf([maps('a', 'cat'), maps('a', 'dog')]).map(({ label, indices }) => [label, indices]), [['a', [0, 0]], ['cat → dog', [1, 1]]]);
  assert.deepEqual(rowsOf([maps('cat'), maps('cat'), null, maps('cat')])[0].indices, [0, 0, null, 0]);
  assert.deepEqual(rowsOf([null]), []);
});

test('an edit keeps everything but words and noise', () => {
  const request = { prompt: 'a cat', seed: 7, first: 2, steps: 20, sampler: 'ddim', eta: 0.5, clip_skip: 0, model: 'x', schedule: null };
  assert.deepEqual(settingsOf(request), { steps: 20, sampler: 'ddim', eta: 0.5 });
  assert.deepEqual(extrasOf({ eta: 0, long_prompt: true }), { long_prompt: true });
});

test('maps are bilinear between the centres of cells', () => {
  const map = new Uint8Array([0, 100, 200, 100]);
  assert.equal(sample(map, 2, 2, 0.25, 0.25), 0);
  assert.equal(sample(map, 2, 2, 0.75, 0.25), 100);
  assert.equal(sample(map, 2, 2, 0.5, 0.25), 50);
  assert.equal(sample(map, 2, 2, 0.5, 0.5), 100);
  assert.equal(sample(map, 2, 2, 0, 1), 200);
});

const RECIPE = `# A recipe
seed = 0

[vae]
beta = 5e-8 # small
name = "a # b"
[vae.training]
steps = 600

[data]
size = 32
`;

test('a recipe is read by key', () => {
  const values = readToml(RECIPE);
  assert.deepEqual([...values], [['seed', '0'], ['vae.beta', '5e-8'], ['vae.name', '"a # b"'], ['vae.training.steps', '600'], ['data.size', '32']]);
  assert.equal(fromRaw(values.get('vae.name')), 'a # b');
  assert.equal(fromRaw(undefined), '');
});

test('a key is changed, added and removed; the rest of the text stays', () => {
  assert.ok(writeToml(RECIPE, 'vae.beta', '1e-6').includes('beta = 1e-6 # small\n'));
  assert.equal(writeToml(RECIPE, 'vae.beta', '5e-8'), RECIPE);
  assert.ok(writeToml(RECIPE, 'vae.training.batch_size', '16').includes('steps = 600\nbatch_size = 16\n\n[data]'));
  assert.ok(writeToml(RECIPE, 'clip.heads', '4').endsWith('size = 32\n\n[clip]\nheads = 4\n'));
  assert.ok(writeToml(RECIPE, 'model', '"x"').startsWith('# A recipe\nseed = 0\nmodel = "x"\n'));
  assert.ok(!writeToml(RECIPE, 'data.size', null).includes('size'));
  assert.equal(writeToml(RECIPE, 'clip.heads', null), RECIPE);
  assert.equal(toRaw('choice', 'mse'), '"mse"');
  assert.equal(toRaw('boolean', 'true'), 'true');
});

test('ticks are round and lie in the range', () => {
  assert.deepEqual(linearTicks(0, 1, 5).map((tick) => Number(tick.toFixed(10))), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(linearTicks(0, 2300, 5), [0, 500, 1000, 1500, 2000]);
  assert.deepEqual(logTicks(0.001, 1, 4), [0.001, 0.01, 0.1, 1]);
  assert.deepEqual(logTicks(1, 10, 8), [1, 2, 5, 10]);
  assert.deepEqual([0.05, 0.1, 0.15].map((tick, _, ticks) => tickText(tick, ticks)), ['0.05', '0.10', '0.15']);
  assert.equal(tickText(12000, [10000, 12000]), '12k');
  const toPixels = scale([1, 100], [0, 200], true);
  assert.deepEqual([toPixels(1), toPixels(10), toPixels(100)], [0, 100, 200]);
});

test('smoothing starts unbiased and passes over gaps', () => {
  assert.deepEqual(smooth([1, 1, 1], 0.9).map((value) => Number(value.toFixed(12))), [1, 1, 1]);
  assert.deepEqual(smooth([3, 5], 0), [3, 5]);
  const gap = smooth([2, null, 2], 0.5);
  assert.deepEqual([gap[0], gap[1], gap[2]], [2, null, 2]);
});

test('intervals are Wilson\'s', () => {
  // 95 % interval of 8 of 10, as R's prop.test without correction gives it.
  assert.deepEqual(wilson(8, 10).map((value) => Number(value.toFixed(4))), [0.4902, 0.9433]);
  assert.equal(wilson(0, 5)[0], 0);
  assert.equal(wilson(5, 5)[1], 1);
});

const studio = new URL('../../crates/calotype-serve/studio/', import.meta.url);
const files = (folder) => readdirSync(new URL(folder, studio), { withFileTypes: true })
  .flatMap((entry) => (entry.isDirectory() ? files(`${folder}${entry.name}/`) : [`${folder}${entry.name}`]));

test('what the page and its modules name is there, and what is there is small', () => {
  const page = readFileSync(new URL('index.html', studio), 'utf8');
  for (const [, path] of page.matchAll(/(?:src|href)="\/([^"#]+)/g)) assert.ok(existsSync(new URL(path, studio)), path);
  for (const file of files('js/')) {
    for (const [, path] of readFileSync(new URL(file, studio), 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)) {
      assert.ok(existsSync(new URL(path, new URL(file, studio))), `${file} imports ${path}`);
    }
  }
  const icons = readFileSync(new URL('icons.svg', studio), 'utf8');
  for (const [, name] of page.matchAll(/icons\.svg#([a-z]+)/g)) assert.ok(icons.includes(`id="${name}"`), name);
  const size = files('').reduce((sum, file) => sum + statSync(new URL(file, studio)).size, 0);
  assert.ok(size < 300 * 1024, `${size} bytes`);
});

test('nothing that a strict content policy refuses', () => {
  const page = readFileSync(new URL('index.html', studio), 'utf8');
  assert.doesNotMatch(page, / style=| on[a-z]+=|<style|<script>/);
  for (const file of files('js/')) assert.doesNotMatch(readFileSync(new URL(file, studio), 'utf8'), /innerHTML|\beval\(|https?:\/\/(?!www\.w3\.org)/, file);
});

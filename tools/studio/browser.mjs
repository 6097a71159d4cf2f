/*
 * The studio, driven in a browser as a person would.
 *
 *     node tools/studio/browser.mjs http://127.0.0.1:7860 [--train] [--screenshots DIR]
 *
 * It opens the page, writes a prompt, watches the picture develop, points at words, takes steps back, compares an edit, cancels,
 * reloads, and visits the rooms Train and Judge. `--train` also starts a training of the recipe `smoke` and stops it.
 * `--screenshots` writes pictures of each room, wide and narrow, dark and light. Where `axe-core` is installed each room is
 * checked for accessibility too.
 *
 * Exit code 0: all passed, or `skipped: …` where playwright-core or a browser is missing. 1: a step failed, and is named.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATIENCE = 60_000;
const BROWSERS = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

const [base, ...options] = process.argv.slice(2);
if (!base || base.startsWith('--')) {
  console.error('usage: node tools/studio/browser.mjs URL [--train] [--screenshots DIR]');
  process.exit(2);
}
const option = (name) => (options.includes(name) ? options[options.indexOf(name) + 1] ?? '' : null);
const url = base.replace(/\/$/, '');

/* Packages are looked for where one calls, beside this file, and where NODE_PATH says. */
function find(name) {
  for (const place of [process.cwd(), import.meta.dirname, ...(process.env.NODE_PATH ?? '').split(':')].filter(Boolean)) {
    try { return createRequire(`${place}/`).resolve(name); } catch { /* the next place */ }
  }
  return null;
}
const skip = (why) => { console.log(`skipped: ${why}`); process.exit(0); };
const playwright = find('playwright-core');
if (!playwright) skip('playwright-core is not installed (npm install playwright-core)');
const executablePath = BROWSERS.find((path) => path && existsSync(path));
if (!executablePath) skip('no Chromium was found; CHROMIUM may name one');
const axe = find('axe-core/axe.min.js');
const { chromium } = createRequire(import.meta.url)(playwright);

const profile = mkdtempSync(join(tmpdir(), 'studio-'));
const context = await chromium.launchPersistentContext(profile, { executablePath, args: FLAGS, viewport: { width: 1440, height: 900 }, colorScheme: 'dark' });
context.setDefaultTimeout(PATIENCE);
const page = context.pages()[0] ?? await context.newPage();
const complaints = [];
page.on('pageerror', (error) => complaints.push(error.message));
page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) complaints.push(message.text()); });

async function end(code) {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
  process.exit(code);
}

async function step(name, action) {
  const began = Date.now();
  try {
    await action();
    if (complaints.length) throw new Error(`the page complained: ${complaints.join('; ')}`);
    console.log(`ok    ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    console.log(`FAILED: ${name}\n${error.message}`);
    await end(1);
  }
}

function check(condition, message) { if (!condition) throw new Error(message); }
const go = async (room) => { await page.goto(`${url}/#${room}`); };

/* Serious findings of axe, by rule and place, in both themes. */
async function accessible(where) {
  if (!axe) { console.log(`      ${where}: axe-core is not installed, not checked`); return; }
  // Evaluated by the debugger, which the page's content policy does not bind.
  await page.evaluate(readFileSync(axe, 'utf8'));
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const serious = found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    check(!serious.length, serious.map(({ id, help, nodes }) => `${where}, ${colorScheme}: ${id}: ${help} (${nodes.map(({ target }) => target.join(' ')).slice(0, 4).join(', ')})`).join('\n'));
  }
}

await step('open', async () => {
  await go('develop');
  await page.waitForSelector('#model option', { state: 'attached' });
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime);
  const size = await page.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => /\.(js|css|svg|html)$/.test(name)).reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0));
  console.log(`      first paint ${Math.round(paint)} ms, ${Math.round(size / 1024)} KiB of assets`);
});

await step('type: the words become chips, unknown ones are marked', async () => {
  await page.fill('#prompt', 'a cat left of a zebra');
  await page.waitForSelector('.chip[data-unknown="true"]');
  await page.fill('#prompt', 'a cat left of a window on a blue background');
  await page.waitForFunction(() => document.querySelectorAll('#chips .chip').length === 10);
});

await step('generate: the preview changes', async () => {
  await page.evaluate(() => {
    window.seen = new Set();
    new MutationObserver(() => document.querySelectorAll('.base img').forEach(({ src }) => window.seen.add(src)))
      .observe(document.getElementById('tray'), { subtree: true, childList: true });
  });
  await page.fill('#seed', '7');
  await page.locator('#prompt').press('Control+Enter');
  await page.waitForSelector('#words li');
  const seen = await page.evaluate(() => [...window.seen].filter((src) => src.includes('/previews/')).length);
  check(seen >= 3, `${seen} different previews were shown`);
});

const heat = () => page.evaluate(() => {
  const canvas = document.querySelector('.heat:not([hidden])');
  if (!canvas) return null;
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let [sum, column] = [0, 0];
  for (let at = 0; at < data.length; at += 4) {
    const light = Math.max(0, data[at] - 150);
    sum += light;
    column += light * ((at / 4) % canvas.width);
  }
  return { sum, x: sum ? column / sum / canvas.width : null };
});

await step('hover a word: its map lies over the picture', async () => {
  check(await heat() === null, 'a map is shown before any word is pointed at');
  await page.hover('#chips li:nth-child(2) button');
  await page.waitForSelector('.lit-up .heat:not([hidden])');
  const cat = await heat();
  await page.hover('#chips li:nth-child(6) button');
  await page.waitForTimeout(100);
  const window = await heat();
  check(cat.sum > 0 && window.sum > 0 && cat.x !== window.x, `maps of two words are alike: ${JSON.stringify([cat, window])}`);
});

await step('ask a spot which words lit it', async () => {
  const box = await page.locator('.surface').first().boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.waitForFunction(() => document.getElementById('lit-title').textContent.includes('this spot'));
  await page.locator('.surface').first().focus();
  await page.keyboard.press('ArrowLeft');
  await page.waitForFunction(() => /%|no word/.test(document.getElementById('live').textContent));
  await page.keyboard.press('Escape');
});

await step('scrub: pictures and maps of earlier steps', async () => {
  await page.focus('#step');
  await page.keyboard.press('Home');
  await page.waitForFunction(() => /^Step 1 of/.test(document.getElementById('step-text').textContent) && document.querySelector('.frame:not([hidden])'));
  await page.keyboard.press('ArrowRight');
  await page.waitForFunction(() => /^Step 2 of/.test(document.getElementById('step-text').textContent));
  await page.keyboard.press('End');
  await page.waitForFunction(() => document.getElementById('step-text').textContent === 'Print');
});

await step('edit a word: side by side on the same noise', async () => {
  await page.fill('#prompt', 'a dog left of a window on a blue background');
  await page.click('#compare');
  await page.waitForSelector('.link-line');
  check(await page.locator('.print').count() === 2, 'there are not two prints');
  check(/One noise/.test(await page.textContent('.link-line')), 'it is not one noise');
  await page.waitForSelector('.word[data-changed="true"]');
});

await step('cancel', async () => {
  const before = await page.locator('#gallery li').count();
  const steps = await page.inputValue('#steps');
  await page.fill('#steps', '400');
  await page.click('#generate');
  await page.waitForFunction(() => /^step/.test(document.getElementById('progress-text').textContent));
  await page.keyboard.press('Escape');
  await page.waitForSelector('#generate:not([hidden])');
  check(await page.locator('#gallery li').count() === before, 'a cancelled picture is in the contact sheet');
  await page.fill('#steps', steps);
  await page.press('#steps', 'Tab');
});

await step('reload: the history and the tray are there', async () => {
  await page.reload();
  await page.waitForSelector('#gallery li');
  await page.waitForSelector('#words li');
  await page.fill('#search', 'dog');
  await page.waitForFunction(() => [...document.querySelectorAll('#gallery .frame-button')].length > 0
    && [...document.querySelectorAll('#gallery .frame-button')].every(({ title }) => title.includes('dog')));
  await page.fill('#search', '');
});

await step('the room Develop is accessible', () => accessible('develop'));

await step('the room Train', async () => {
  await go('train');
  await page.waitForSelector('#room-train .pane > *');
  const runs = await page.locator('.runs li').count();
  if (runs) await page.waitForSelector('.line-chart .line, .curves .note:not([hidden])');
  await accessible('train');
});

await step('a recipe is checked as it is written', async () => {
  await go('train/new');
  if (await page.locator('#toml').count() === 0) await Promise.race([page.waitForSelector('#toml'), page.waitForSelector('#room-train .empty')]);
  if (await page.locator('#toml').count() === 0) { console.log('      this server does not train'); return; }
  await page.waitForSelector('.start-row [data-ok="true"]');
  const good = await page.inputValue('#toml');
  await page.fill('#toml', `${good}\nno_such_key = 1\n`);
  await page.waitForSelector('.start-row [data-ok="false"]');
  await page.fill('#toml', good);
  await page.waitForSelector('.start-row [data-ok="true"]');
  await accessible('train/new');
});

if (options.includes('--train')) {
  await step('train: the curve moves, and it stops', async () => {
    const name = `browser-${Date.now() % 1e6}`;
    await page.selectOption('#preset', 'smoke');
    await page.fill('#run-name', name);
    await page.waitForSelector('.start-row button.main:enabled');
    await page.click('.start-row button.main');
    await page.waitForSelector('.line-chart .line', { timeout: 4 * PATIENCE });
    const first = await page.getAttribute('.line-chart .line', 'd');
    await page.waitForFunction((before) => document.querySelector('.line-chart .line')?.getAttribute('d') !== before, first, { timeout: 4 * PATIENCE });
    await page.click('#stop-training');
    await page.click('dialog button.main');
    await page.waitForSelector('.run-head button:has-text("Resume")', { timeout: 4 * PATIENCE });
  });
}

await step('the room Judge', async () => {
  await go('judge');
  await page.waitForFunction(() => document.querySelector('.whiskers, #room-judge .empty'));
  const astray = await page.evaluate(() => [...document.querySelectorAll('.whiskers tbody tr')].filter((row) => {
    const [axis, dot] = ['.lines', '.dot'].map((name) => row.querySelector(name).getBoundingClientRect());
    const share = (100 * (dot.left + dot.width / 2 - axis.left)) / axis.width;
    return Math.abs(share - parseFloat(row.querySelector('.value b').textContent)) > 1;
  }).map((row) => row.textContent));
  check(!astray.length, `dots do not stand where their numbers say: ${astray.join('; ')}`);
  await accessible('judge');
});

await step('two models on the same noise, chosen blindly', async () => {
  await go('judge/beside');
  await page.waitForSelector('#duel-prompts');
  await page.fill('#duel-prompts', 'a cat left of a window');
  await page.click('.duel-form button.main');
  await page.waitForSelector('.contender');
  await page.keyboard.press('ArrowLeft');
  await page.waitForSelector('.pairs');
  await page.waitForSelector('#room-judge .whiskers >> visible=true');
  await accessible('judge/beside');
});

await step('keys are listed', async () => {
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('?');
  await page.waitForSelector('dialog .keys');
  await page.keyboard.press('Escape');
});

const folder = option('--screenshots');
if (folder) {
  mkdirSync(folder, { recursive: true });
  await step('screenshots', async () => {
    for (const [width, height, size] of [[1440, 900, 'wide'], [390, 844, 'narrow']]) {
      await page.setViewportSize({ width, height });
      for (const colorScheme of ['dark', 'light']) {
        await page.emulateMedia({ colorScheme });
        for (const room of ['develop', 'train', 'judge']) {
          await go(room);
          await page.waitForTimeout(1200);
          if (room === 'develop' && await page.locator('#chips .chip').count() > 1) await page.locator('#chips .chip').nth(1).hover();
          await page.waitForTimeout(300);
          await page.screenshot({ path: join(folder, `studio-${room}-${size}-${colorScheme}.png`) });
        }
      }
    }
  });
}
console.log('all passed');
await end(0);

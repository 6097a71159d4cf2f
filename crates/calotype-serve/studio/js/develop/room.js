/* The room Develop: the prompt asks, the job develops, the tray shows, the sheet keeps. */
import { announce, byId, duration, h } from '../dom.js';
import { get } from '../api.js';
import { complain, notice, sentence } from '../dialogs.js';
import { recall, remember } from '../store.js';
import { changes, rowsOf } from './align.js';
import { createCaption } from './caption.js';
import { createGallery } from './gallery.js';
import { ask, followJob } from './job.js';
import { registerKeys } from './keys.js';
import { media } from './maps.js';
import { createOrigin } from './origin.js';
import { createPrompt } from './prompt.js';
import { settingsOf } from './request.js';
import { createScrubber } from './scrubber.js';
import { createSettings } from './settings.js';
import { createTray } from './tray.js';
import { createView } from './view.js';
import { createWords } from './words.js';

const STAGES = { loading: 'opening the model', text: 'reading the prompt', sampling: 'developing', decoding: 'fixing the print' };

/** Fills the room. @returns {Promise<{enter: function(string[])}>} */
export async function open() {
  // On a phone the settings would stand between the picture and the sheet.
  const wide = matchMedia('(min-width: 60rem)').matches;
  byId('settings-fold').open = wide;
  const view = createView();
  const { state } = view;
  // Registered first, so that they head the list of keys.
  registerKeys(view, {
    again, repeat,
    write: () => prompt.focus(),
    running: () => running,
    forget: (picture) => gallery.forget(picture),
  });
  const tray = createTray(view);
  createWords(view);
  const scrubber = createScrubber(view);
  createCaption(view, { repeat, begin: (picture) => origin.begin(picture.image), remove: (picture) => gallery.forget(picture),
    parent: besideParent });
  const gallery = createGallery({ open: show, repeat: (picture) => { repeat(picture); show(picture); }, removed });
  const origin = createOrigin({
    repeat: (record) => { repeat(record); announce('Its settings are taken'); },
    explain: (url) => develop({ explain: url }),
    shape: (width, height) => settings?.shape(width, height),
  });
  let settings = null;
  let running = null;

  const prompt = createPrompt(view, { model: () => settings?.model() ?? null, onchange: showChange });

  async function offers() {
    try {
      const [{ models }, { samplers, schedules }, status] = await Promise.all([get('/api/models'), get('/api/samplers'),
        get('/api/status')]);
      settings = createSettings({ models, samplers, schedules, preferred: status.default_model },
        { onmodel: modelChanged, showWords: (model) => prompt.showWords(model) });
      if (!models.length) notice('This server has no model.',
        { hint: 'Start it with --model, or put one into --models-dir.', kind: 'error' });
      // The first choice of a model is made while the settings are built, before they have a name here.
      modelChanged();
    } catch (error) {
      if (error.status) complain(error);
      document.addEventListener('server-back', () => offers(), { once: true });
    }
  }

  function modelChanged() {
    if (!settings) return;
    prompt.ask();
    const examples = settings.model()?.examples ?? [];
    byId('examples')?.replaceChildren(...examples.slice(0, 6).map((text) => h('li', {},
      h('button.example', { type: 'button', onclick: () => { prompt.set(text); develop(); } }, text))));
  }

  /* A word that was changed can be seen on the same noise: that is offered as soon as it is written. */
  function showChange() {
    const base = compareBase();
    const seen = state.compare && state.pictures[1].prompt === prompt.text;
    const parts = base && prompt.text && !seen ? changes(base.prompt, prompt.text) : [];
    byId('change').hidden = parts.length === 0 || Boolean(state.developing);
    if (byId('change').hidden) return;
    byId('change-text').replaceChildren(...parts.flatMap(({ gone, come }, index) => [
      index ? ', ' : '', gone ? h('del', {}, gone) : '', gone && come ? ' → ' : '', come ? h('ins', {}, come) : '']));
  }

  /** The picture that an edit is compared with. */
  function compareBase() { return (state.compare ? state.pictures[0] : state.pictures[state.solo ?? 0]) ?? null; }

  async function develop({ beside = null, explain = null } = {}) {
    if (!settings || running) return;
    // An edit is compared on the same noise, so on the same model, whichever is chosen now.
    const model = beside ? settings.named(beside.model) : settings.model();
    if (!model) {
      if (beside) notice(`The model ${beside.model} is not here: there is nothing to compare with.`, { kind: 'error', key: 'beside' });
      return;
    }
    if (!prompt.text && explain) { notice('Write what the picture shows first.', { seconds: 6, key: 'explain' }); return; }
    const seed = beside ? beside.seed : settings.seed();
    const start = explain ? null : origin.request();
    if (model.inpaints_only && !start?.mask) {
      notice(`${model.name} only paints into pictures.`, { hint: 'Bring one, and paint a mask.', kind: 'error', key: 'mask' });
      return;
    }
    if (beside?.request.strength && !start) {
      notice('The first picture began with another, which is not here.', { hint: 'This one begins with noise.', key: 'origin', seconds: 8 });
    }
    const request = beside
      ? { ...settingsOf(beside.request), width: beside.width, height: beside.height, first: beside.index, prompt: prompt.text, seed }
      : { ...settings.request(), prompt: prompt.text, seed };
    if (start) request.strength = start.strength;
    // A picture that is explained keeps its own size, and is not sampled.
    if (explain) for (const key of ['width', 'height', 'steps', 'sampler', 'schedule', 'guidance']) request[key] = null;
    const count = beside || explain ? 1 : settings.count;
    await run({
      kind: explain ? 'explain' : 'generate', model: model.name, request, count, word_maps: model.word_maps !== false, previews: true,
      init_image: start?.init_image ?? null, mask: start?.mask ?? null, explain_image: explain, parent: beside?.id ?? null,
    }, beside);
  }

  async function run(body, beside) {
    const control = new AbortController();
    running = { cancel: () => control.abort() };
    busy(true);
    tray.begin(body.count, body.request.width ?? 1, body.request.height ?? 1, body.request.prompt, beside);
    view.set({ developing: { beside }, rows: [], hovered: null, pinned: null, step: null, spot: null });
    scrubber.hide();
    byId('change').hidden = true;
    if (body.explain_image) tray.step([body.explain_image]);
    progress('asking', 0);
    const { top, bottom } = byId('stage').getBoundingClientRect();
    if (top > innerHeight - 200 || bottom < 300) byId('ask').scrollIntoView({ block: 'start' });
    try {
      const id = await ask(body, { signal: control.signal,
        onwait: (seconds) => progress(`the queue is full, trying again in ${seconds} s`, 0) });
      remember('job', { id, beside: beside?.id ?? null });
      await attend(id, beside);
    } catch (error) {
      if (error.name !== 'AbortError' && !settings.fault(error.setting,
        sentence(error.message) + (error.hint ? ` ${sentence(error.hint)}` : ''))) complain(error);
      finishEarly(error.name === 'AbortError' ? 'Cancelled' : null);
    }
  }

  /* From an accepted job to its pictures. */
  async function attend(id, beside) {
    const job = followJob(id, {
      onqueued: (position) => progress(position ? `waiting, ${position} before this one` : 'next in the queue', 0),
      onstage: ({ stage, step, steps }) => progress(STAGES[stage] ?? stage, steps ? step / steps : 0),
      onstep: ({ step, steps, previews }) => {
        progress(`step ${step} of ${steps}`, step / steps);
        if (previews) tray.step(previews);
      },
    });
    running = { cancel: () => { progress('stopping after this step', null); job.cancel(); } };
    const { state: how, pictures, seconds, error } = await job.ended;
    remember('job', null);
    if (how !== 'done' || !pictures.length) {
      if (how === 'failed') complain(Object.assign(new Error(error?.message), error));
      finishEarly(how === 'cancelled' ? 'Cancelled' : null);
      return;
    }
    progress('fixing the print', 1);
    tellWarnings(id);
    await Promise.all([tray.finish(pictures), ...pictures.map((picture) => media(picture))]);
    gallery.add(pictures);
    busy(false);
    view.set({ developing: null });
    lay(beside ? [beside, ...pictures] : pictures, Boolean(beside));
    announce(`${pictures.length > 1 ? `${pictures.length} pictures` : 'The picture'} developed in ${duration(seconds)}`);
  }

  async function tellWarnings(id) {
    const { warnings = [] } = await get(`/api/jobs/${id}`).catch(() => ({}));
    for (const warning of warnings) notice(sentence(warning), { key: 'warning' });
  }

  function finishEarly(said) {
    busy(false);
    view.set({ developing: null });
    tray.abandon();
    if (state.pictures.length) loadRows();
    if (said) announce(said);
  }

  /** Puts finished pictures into the tray. */
  function lay(pictures, compare = false) {
    view.set({ pictures, compare, solo: null, hovered: null, pinned: null, step: null, spot: null });
    gallery.mark(pictures);
    remember('tray', pictures.map(({ id }) => id));
    loadRows();
  }

  async function loadRows() {
    const { pictures } = state;
    const all = await Promise.all(pictures.map((picture) => media(picture)));
    if (pictures !== state.pictures || state.developing) return;
    view.set({ rows: rowsOf(all.map(({ maps }) => maps)) });
    byId('lit-help').hidden = false;
    showChange();
  }

  function busy(is) {
    if (!is) running = null;
    byId('generate').hidden = is;
    byId('cancel').hidden = !is;
    byId('progress').hidden = !is;
    byId('stage').setAttribute('aria-busy', String(is));
    // The focus follows the button that took the other one's place.
    if (document.activeElement === document.body) byId(is ? 'cancel' : 'generate').focus({ preventScroll: true });
  }

  function progress(text, share) {
    byId('progress-text').textContent = text;
    if (share !== null) byId('progress-bar').style.transform = `scaleX(${share})`;
  }

  function show(picture) {
    if (running) { notice('A picture is developing.', { hint: 'Esc cancels it.', seconds: 5, key: 'busy' }); return; }
    lay([picture]);
    prompt.set(picture.prompt);
    const top = byId('stage').getBoundingClientRect().top;
    if (top < 0 || top > innerHeight / 2) byId('ask').scrollIntoView({ block: 'start' });
  }

  function repeat({ request, model, prompt: text, seed }) {
    const known = settings?.apply({ ...request, seed: request.seed ?? seed }, model);
    prompt.set(text ?? request.prompt ?? '');
    if (known === false) notice(`The model ${model} is not here.`,
      { hint: 'The settings are taken for the model that is chosen.', seconds: 8 });
    byId('prompt').focus();
    scrollTo({ top: 0 });
  }

  async function besideParent(picture) {
    try {
      lay([await get(`/api/pictures/${picture.parent}`), picture], true);
    } catch (error) {
      complain(error.status === 404 ? new Error('its first picture was deleted') : error);
    }
  }

  function removed(picture) {
    const left = state.pictures.filter(({ id }) => id !== picture.id);
    if (left.length !== state.pictures.length && !state.developing) lay(left);
  }

  /* After a reload: a job that still runs is followed again, else what lay in the tray is there again. */
  async function resume() {
    const left = recall('job');
    if (left) {
      try {
        const job = await get(`/api/jobs/${left.id}`);
        if (['queued', 'running'].includes(job.state)) {
          const beside = left.beside ? await get(`/api/pictures/${left.beside}`) : null;
          prompt.set(job.request.prompt);
          busy(true);
          tray.begin(job.count, job.request.width, job.request.height, job.request.prompt, beside);
          view.set({ developing: { beside } });
          attend(left.id, beside);
          return;
        }
        if (job.pictures.length) remember('tray', job.pictures);
      } catch { /* the server forgot it */ }
      remember('job', null);
    }
    const ids = recall('tray', []);
    const pictures = (await Promise.all(ids.map((id) => get(`/api/pictures/${id}`).catch(() => null)))).filter(Boolean);
    if (!pictures.length) return;
    lay(pictures, pictures.length === 2 && pictures[1].parent === pictures[0].id);
    prompt.set(pictures[pictures.length - 1].prompt);
  }

  function again() { develop({ beside: compareBase() }); }

  byId('ask').addEventListener('submit', (event) => { event.preventDefault(); develop(); });
  byId('compare').addEventListener('click', again);
  byId('cancel').addEventListener('click', () => running?.cancel());
  view.on(['solo'], () => view.set({ spot: null }));

  gallery.restart();
  await offers();
  await resume();
  if (wide && !prompt.text) byId('prompt').focus();

  return {
    /** `#develop/p-…` opens a picture. */
    async enter([id]) {
      if (!id) return;
      history.replaceState(null, '', '#develop');
      try { show(await get(`/api/pictures/${encodeURIComponent(id)}`)); } catch (error) { complain(error); }
    },
  };
}

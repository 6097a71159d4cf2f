/* One job, from the request to its pictures: the queue, the stages, the previews, the ways it can end. */
import { follow, get, post, remove } from '../api.js';

/**
 * Asks for a job; where the queue is full it waits as long as the server says and asks again.
 * @param {object} body as POST /api/jobs takes it
 * @param {{onwait: function(number), signal: AbortSignal}} how
 * @returns {Promise<string>} its id
 */
export async function ask(body, { onwait, signal }) {
  for (;;) {
    try {
      return (await post('/api/jobs', body, { signal })).id;
    } catch (error) {
      if (error.status !== 429) throw error;
      const until = Date.now() + 1000 * (error.retryAfter ?? 5);
      while (Date.now() < until) {
        if (signal.aborted) throw new DOMException('cancelled', 'AbortError');
        onwait(Math.ceil((until - Date.now()) / 1000));
        await new Promise((resolve) => { setTimeout(resolve, 250); });
      }
    }
  }
}

/**
 * Follows a job until it ends.
 * @param {string} id
 * @param {{onqueued: function(number), onstage: function(object), onstep: function(object)}} on
 * @returns {{ended: Promise<{state: string, pictures: object[], seconds: number|null, error: object|null}>, cancel: function()}}
 */
export function followJob(id, on) {
  let close = () => {};
  const ended = new Promise((resolve) => {
    const end = async (state, { pictures = [], seconds = null, error = null } = {}) => {
      try {
        const made = await Promise.all(pictures.map((each) => get(`/api/pictures/${each}`)));
        resolve({ state, seconds, error, pictures: made.sort((a, b) => a.index - b.index) });
      } catch (problem) {
        resolve({ state: 'failed', seconds, error: problem, pictures: [] });
      }
    };
    close = follow(`/api/jobs/${id}/events`, {
      queued: ({ position }) => on.onqueued(position),
      stage: (event) => on.onstage(event),
      step: (event) => on.onstep(event),
      done: (event) => end('done', event),
      failed: (event) => end('failed', { error: event.error ?? event }),
      cancelled: () => end('cancelled'),
      // The stream was refused: what became of the job is asked once more, plainly.
      lost: async () => {
        try {
          const job = await get(`/api/jobs/${id}`);
          end(['done', 'cancelled'].includes(job.state) ? job.state : 'failed',
            { ...job, error: job.error ?? { message: 'The connection to the job was lost.' } });
        } catch (error) {
          end('failed', { error });
        }
      },
    });
  });
  return {
    ended,
    cancel: () => remove(`/api/jobs/${id}`).catch(() => close()),
  };
}

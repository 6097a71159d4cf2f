//! Pictures of one or several jobs, in one network call a step.

use std::sync::Arc;

use calotype::Error;
use calotype::explain::heat_map::Baseline;
use calotype::explain::{Options, Watched};
use calotype::model::Model;
use calotype::pipeline::given_picture::LOOKS;
use calotype::pipeline::{Generation, GivenPictures, PictureRequest, Request, Step};
use calotype::sampler::{NoiseSource, Sampler};
use image::RgbImage;

use super::asked::Asked;
use super::job::Job;
use super::maps::{self, Maps};
use super::{batch, preview};
use crate::app::App;
use crate::config::Limits;
use crate::history::NewPicture;
use crate::models::Usual;
use crate::problem::{Answer, Problem};

/// A picture of a batch.
pub(super) struct Seat {
    pub job: Arc<Job>,
    /// Its number in the job.
    pub index: usize,
    pub generation: Arc<Generation>,
    /// Its number in the generation.
    pub picture: usize,
}

impl Seat {
    fn request(&self) -> PictureRequest {
        self.generation.pictures[self.picture].clone()
    }

    /// (seed, number under it).
    fn noise(&self) -> (u64, u64) {
        (self.generation.sampling.seed, self.generation.pictures[self.picture].image_index)
    }
}

/// How maps are made.
pub(super) fn map_options() -> Options {
    Options { baseline: Baseline::WordMean, keeps_steps: true, ..Options::default() }
}

/// The requests of a job, ready for its model.
///
/// # Errors
/// 422 for what the model cannot do, or this server does not.
pub fn prepare(asked: &Asked, model: &Model, usual: Usual, limits: &Limits) -> Answer<Vec<Arc<Generation>>> {
    let given = match &asked.explain {
        Some(picture) => GivenPictures { init: Some(picture.clone()), ..GivenPictures::default() },
        None => asked.given.clone(),
    };
    let ready = asked.requests.iter().map(|(request, count)| {
        let filled = Request { model: Some(asked.model.clone().into()), ..request.clone() };
        let filled = match &asked.explain {
            Some(_) => Request { strength: Some(1.0), steps: request.steps.or(Some(LOOKS)), ..filled },
            None => Request {
                steps: request.steps.or(Some(usual.steps)),
                guidance: request.guidance.or(Some(usual.guidance)),
                sampler: request.sampler.or(usual.sampler),
                ..filled
            },
        };
        require_limits(&filled, &given, limits)?;
        let generation = filled.prepare_given(model, *count, &given)?;
        if asked.explain.is_none() {
            // Refused here and not when its turn comes: a sampler that does not fit the model, or its settings.
            let settings = &generation.sampling.sampler;
            Sampler::new(&model.scheduler.sampled_by(settings.kind.class()), settings)?;
        }
        Ok(Arc::new(generation))
    });
    ready.collect()
}

/// Refuses what is too large before anything of that size is made, and texts that no PNG could record.
fn require_limits(request: &Request, given: &GivenPictures, limits: &Limits) -> Answer<()> {
    let own = given.init.as_ref().map(RgbImage::dimensions);
    let sides = [
        ("width", request.width.or(own.map(|(width, _)| width as usize))),
        ("height", request.height.or(own.map(|(_, height)| height as usize))),
    ];
    for (name, side) in sides {
        if let Some(side) = side.filter(|side| *side > limits.most_side) {
            return Err(Problem::setting(name, format!("at most {}", limits.most_side), side));
        }
    }
    for (name, text) in [("prompt", Some(&request.prompt)), ("negative", request.negative.as_ref())] {
        if text.is_some_and(|text| text.contains('\0')) {
            return Err(Problem::setting(name, "text without NUL characters", "one"));
        }
    }
    match request.steps.filter(|steps| *steps > limits.most_steps) {
        Some(steps) => Err(Problem::setting("steps", format!("at most {}", limits.most_steps), steps)),
        None => Ok(()),
    }
}

/// Makes the pictures of jobs that may be sampled together, and keeps them.
///
/// # Errors
/// Those of sampling and of the history, which are of all jobs that have not ended yet.
pub(super) fn run(app: &App, model: &Model, jobs: &[(Arc<Job>, Vec<Arc<Generation>>)]) -> Answer<()> {
    let seats: Vec<Seat> = jobs.iter().flat_map(|(job, ready)| seats(job, ready)).collect();
    let Some(first) = seats.first() else { return Ok(()) };
    let (width, height) = (first.generation.sampling.width, first.generation.sampling.height);
    let chunks: Vec<&[Seat]> = seats.chunks(batch::at_once(width, height)).collect();
    let steps = first.generation.sampling.sampler.steps;
    for (job, ready) in jobs {
        job.ready(steps * chunks.len(), ready);
        job.stage("sampling");
    }
    for (number, chunk) in chunks.iter().enumerate() {
        if jobs.iter().all(|(job, _)| job.state().is_end()) {
            break;
        }
        Sampled { app, model, seats: chunk, chunk: (number, chunks.len()) }.make()?;
    }
    jobs.iter().for_each(|(job, _)| job.done());
    Ok(())
}

fn seats<'a>(job: &'a Arc<Job>, ready: &'a [Arc<Generation>]) -> impl Iterator<Item = Seat> + 'a {
    let of = |generation: &'a Arc<Generation>| {
        (0..generation.pictures.len()).map(move |picture| (generation, picture))
    };
    let all = ready.iter().flat_map(of).enumerate();
    all.map(|(index, (generation, picture))| Seat {
        job: job.clone(),
        index,
        generation: generation.clone(),
        picture,
    })
}

/// Pictures that are sampled at once.
struct Sampled<'a> {
    app: &'a App,
    model: &'a Model,
    seats: &'a [Seat],
    /// Which of a job's parts this is, and of how many.
    chunk: (usize, usize),
}

impl Sampled<'_> {
    fn make(&self) -> Answer<()> {
        let first = &self.seats[0];
        let (sampling, origin) = (&first.generation.sampling, &first.generation.origin);
        let requests: Vec<PictureRequest> = self.seats.iter().map(Seat::request).collect();
        let pictures: Vec<(u64, u64)> = self.seats.iter().map(Seat::noise).collect();
        let mut noise = NoiseSource::of_pictures(sampling.generator, &pictures);
        let maps = first.job.asked.word_maps;
        let watched =
            maps.then(|| Watched::new(self.model, &requests, sampling, &map_options())).transpose()?;
        let hook = watched.as_ref().map(Watched::hook);
        let mut watch = |step: Step| {
            if let Some(watched) = &watched {
                watched.begin_step(step.done);
            }
            self.step(&step)?;
            Ok(step.x)
        };
        let latents = self.model.sample_watched(&requests, sampling, origin, &mut noise, hook, &mut watch);
        let latents = match latents {
            Err(Error::Stopped { .. }) => return Ok(()),
            other => other?,
        };
        self.jobs().for_each(|job| job.stage("decoding"));
        let tiled = |seat: &Seat| seat.generation.request.vae_tiling;
        let images = (self.seats.iter().enumerate())
            .map(|(i, seat)| self.model.decode(latents.clone().narrow(0, i, 1), tiled(seat)));
        let images: Vec<RgbImage> = images.collect::<calotype::Result<Vec<_>>>()?.concat();
        let maps: Vec<Option<(Maps, Vec<u8>)>> = match watched {
            Some(watched) => {
                let explanations = watched.explanations(images.clone(), sampling, &map_options())?;
                explanations.iter().map(maps::of).collect()
            }
            None => images.iter().map(|_| None).collect(),
        };
        for ((seat, image), maps) in self.seats.iter().zip(&images).zip(maps) {
            keep(self.app, seat, image, maps)?;
        }
        Ok(())
    }

    /// The jobs that have not ended.
    fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        let mut last: Option<&Arc<Job>> = None;
        let one_of_each = self.seats.iter().map(|seat| &seat.job).filter(move |job| {
            let new = last.is_none_or(|last| !Arc::ptr_eq(last, job));
            last = Some(job);
            new
        });
        one_of_each.filter(|job| !job.state().is_end())
    }

    /// Tells all jobs, and ends those that are to be stopped; an error where none is left.
    fn step(&self, step: &Step) -> calotype::Result<()> {
        for job in self.jobs() {
            end_if_asked(self.app, job);
        }
        let sampling = &self.seats[0].generation.sampling;
        let wanted = self.jobs().any(|job| job.wants_previews());
        let due = preview::every(sampling.width, sampling.height)
            .is_some_and(|every| step.done.is_multiple_of(every) || step.done == step.steps);
        let mut pngs = if wanted && due { preview::of_step(self.model, step) } else { None };
        let (chunk, chunks) = self.chunk;
        for job in self.jobs() {
            let mut of_job = Vec::new();
            if let Some(pngs) = pngs.as_mut().filter(|_| job.wants_previews()) {
                let own = self.seats.iter().zip(pngs).filter(|(seat, _)| Arc::ptr_eq(&seat.job, job));
                of_job.extend(own.map(|(seat, png)| (seat.index, std::mem::take(png))));
            }
            job.step((chunk * step.steps + step.done, chunks * step.steps), of_job);
        }
        match self.jobs().next() {
            Some(_) => Ok(()),
            None => Err(Error::Stopped { step: step.done, steps: step.steps }),
        }
    }
}

/// Ends a job that was cancelled, or has taken too long.
pub(super) fn end_if_asked(app: &App, job: &Job) {
    let most = app.config.limits.job_time;
    if job.is_cancelled() {
        job.cancelled();
    } else if job.is_overdue(most) {
        let message = format!("the job took longer than the {} seconds that it may", most.as_secs());
        job.failed(Problem::new(axum::http::StatusCode::GATEWAY_TIMEOUT, message));
    }
}

/// Puts a picture into the history, with its record, its steps and its maps, unless its job has ended.
pub(super) fn keep(app: &App, seat: &Seat, image: &RgbImage, maps: Option<(Maps, Vec<u8>)>) -> Answer<()> {
    let Seat { job, index, generation, picture } = seat;
    if job.state().is_end() {
        return Ok(());
    }
    let previews = job.previews(*index);
    let number = generation.pictures[*picture].image_index;
    let id = app.history.add(NewPicture {
        job: &job.id,
        model: &job.asked.model,
        request: &Request { first: number, ..generation.request.clone() },
        texts: generation.record(*picture),
        index: number,
        image,
        strip: preview::strip(&previews),
        steps: previews.len(),
        maps,
        parent: job.asked.parent.as_deref(),
        seconds: job.seconds(),
    })?;
    app.metrics.pictures.add(1);
    job.picture(*index, id);
    Ok(())
}

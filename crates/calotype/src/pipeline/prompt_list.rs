//! Many prompts, and their pictures: one each, made in shares that may be jobs of their own.
//!
//! Prompt k of a list has picture k of the seed, whoever makes it and with whatever others.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use image::RgbImage;
use serde_json::Value;

use super::batches::in_batches;
use super::{Generation, PictureRequest, Request};
use crate::data::collection::CaptionNeed;
use crate::data::division::divide;
use crate::data::open::{Faulty, open};
use crate::data::parquet::Columns;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::model::Model;

/// Pictures sampled at a time by a thread; they do not depend on it.
const BATCH: usize = 4;

/// The prompts of a text file (`.txt`: a line each), of JSON lines (`.jsonl`: `prompt`, `text` or `caption` of each, as
/// `metadata.jsonl` has it), or the first caption of each picture of a collection as trainings read it.
///
/// - `held_out`: of a collection, those alone that a training with this `data.validation` does not see.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a line without a prompt; `Error::Argument` for `held_out` of a file of prompts; as
/// [`open`]; `Error::Data` for no prompts.
pub fn read(path: &Path, held_out: Option<f64>, cache: &Path) -> Result<Vec<String>> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let of_file = matches!(extension, Some("txt" | "jsonl"));
    if of_file && held_out.is_some() {
        let expected = "a collection of pictures beside it, of which a training leaves some out";
        return Err(Error::argument("held_out", expected, path.display()));
    }
    let prompts = match extension {
        Some("txt") => {
            text(path)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()
        }
        Some("jsonl") => json_lines(path)?,
        _ => captions(path, held_out, cache)?,
    };
    if prompts.is_empty() {
        return Err(Error::data("prompts", "one at least", format!("none in `{}`", path.display())));
    }
    Ok(prompts)
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

fn json_lines(path: &Path) -> Result<Vec<String>> {
    let text = text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let failed =
                |reason: String| Error::format(path, "JSON lines", format!("line {}: {reason}", i + 1));
            let value: Value = serde_json::from_str(line).map_err(|e| failed(e.to_string()))?;
            let prompt = ["prompt", "text", "caption"].into_iter().find_map(|key| value[key].as_str());
            prompt
                .map(str::to_owned)
                .ok_or_else(|| failed("it has no `prompt`, `text` or `caption` that is a text".into()))
        })
        .collect()
}

fn captions(path: &Path, held_out: Option<f64>, cache: &Path) -> Result<Vec<String>> {
    let names = [path.display().to_string()];
    let all = open(&names, CaptionNeed::Required, Faulty::Refused, &Columns::default(), cache)?;
    let wanted = match held_out {
        Some(share) => divide(all.len() as u64, share).1,
        None => (0..all.len() as u64).collect(),
    };
    let first = |i: u64| all.captions(i as usize).first().cloned().unwrap_or_default();
    Ok(wanted.into_iter().map(first).collect())
}

impl Request {
    /// Makes the pictures of `prompts`, each with its number, a few at a time, and gives each to `keep` when it is there,
    /// with the generation that records it.
    ///
    /// # Errors
    /// As [`Request::prepare`] and [`Model::sample_from`]; `Error::Argument` for a folder of LoRAs, which are merged once
    /// for all prompts; those of `keep`; `Error::Stopped`: what was kept is done.
    pub fn generate_list(
        &self,
        model: &mut Model,
        prompts: &[(u64, &str)],
        machine: Machine,
        keep: impl Fn(u64, &RgbImage, &Generation) -> Result<()> + Sync,
    ) -> Result<()> {
        if let Some(folder) = &self.lora_dir {
            let expected = "LoRAs by name beside a list of prompts: those of its tags would differ from prompt to prompt";
            return Err(Error::argument("lora_dir", expected, folder.display()));
        }
        let Some(&(_, first)) = prompts.first() else { return Ok(()) };
        // Prompts and numbers are all that differs: sizes, pictures and latents are made ready once.
        let like = Self { prompt: first.into(), ..self.clone() }.prepare(model, 1)?;
        let picture = |&(image_index, prompt): &(u64, &str)| PictureRequest {
            prompt: prompt.into(),
            image_index,
            ..like.pictures[0].clone()
        };
        let all = prompts.iter().map(picture).collect();
        Generation { pictures: all, ..like.clone() }.read_prompts_and_drop_t5(model)?;
        let (model, progress) = (&*model, machine.progress);
        let on_step = |_, _| {
            if progress.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        in_batches("pictures", prompts, BATCH, machine, |batch| {
            let pictures: Vec<PictureRequest> = batch.iter().map(picture).collect();
            let (sampling, mut noise) = (&like.sampling, model.noise(&pictures, &like.sampling, None));
            let latents = model.sample_from(
                &pictures,
                sampling,
                &like.origin,
                &mut noise,
                None,
                &mut on_step.clone(),
            )?;
            let images = model.decode(latents, self.vae_tiling)?;
            for (picture, image) in pictures.into_iter().zip(&images) {
                let request = Self { prompt: picture.prompt.clone(), ..like.request.clone() };
                let number = picture.image_index;
                keep(number, image, &Generation { request, pictures: vec![picture], ..like.clone() })?;
            }
            Ok(vec![(); batch.len()])
        })
        .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, assert_refuses};

    #[test]
    fn prompts_are_lines_or_captions() {
        let dir = TempDir::new();
        let none = Path::new("cache");
        let path = dir.write("prompts.txt", "a cat\n\n  a dog \n".as_bytes());
        assert_eq!(read(&path, None, none).unwrap(), ["a cat", "a dog"]);
        assert_refuses(read(&path, Some(0.5), none), "held_out: expected a collection of pictures");
        let path = dir
            .write("some.jsonl", b"{\"file_name\": \"a.png\", \"text\": \"a cat\"}\n{\"prompt\": \"b\"}\n");
        assert_eq!(read(&path, None, none).unwrap(), ["a cat", "b"]);
        let path = dir.write("wrong.jsonl", b"{\"text\": \"a\"}\n{\"text\": 3}\n");
        let message = read(&path, None, none).unwrap_err().to_string();
        assert!(message.contains("line 2: it has no `prompt`, `text` or `caption`"), "{message}");
        let path = dir.write("empty.txt", b"\n");
        assert_refuses(read(&path, None, none), "prompts: expected one at least");
    }
}

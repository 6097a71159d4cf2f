//! The order in which training sees its pictures, and what it sees of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use image::{DynamicImage, RgbImage};
use sha2::{Digest, Sha256};

use super::buckets::{self, Buckets};
pub use super::item::{Damaged, DepictedObject, Item, Place};
use super::pictures::Pictures;
use super::transform::{Crop, Transform, TransformDraws};
use crate::error::{Error, Result};
use crate::files::sha256::hex;
use crate::rng::{Philox, Purpose};

/// How many pictures in a row may be damaged before the run gives up looking for the next good one.
const MOST_DAMAGED_IN_A_ROW: usize = 64;

/// Epochs whose order is kept: workers are at most a few steps apart, on two sides of an epoch's end.
const EPOCHS_KEPT: usize = 3;

/// Pictures in the order of a run: positions count from 0 without end, and what stands at a position is a pure
/// function of the settings.
pub struct TrainingSet {
    pictures: Arc<dyn Pictures>,
    /// The pictures that belong to it; `None`: all of an endless source, in their own order.
    members: Option<Vec<u64>>,
    seed: u64,
    size: u32,
    transform: Transform,
    bucketed: Option<Bucketed>,
    /// Pictures that cannot be measured, and so have no bucket.
    left_out: Vec<Damaged>,
    /// Positions of an epoch; 0 if there is no end.
    epoch: usize,
    orders: Mutex<BTreeMap<u64, Arc<Vec<usize>>>>,
}

/// Every batch has pictures of one shape.
struct Bucketed {
    buckets: Buckets,
    /// Bucket of each member.
    of: Vec<usize>,
    batch_size: usize,
}

impl TrainingSet {
    /// The pictures `members` of `pictures` (`None`: all of them, in their own order if they have no end), brought
    /// to `size` × `size` pixels by `transform`. `seed` decides order, crops, flips and the choice of captions.
    ///
    /// # Errors
    /// `Error::Data` if no picture is left.
    pub fn new(
        pictures: Arc<dyn Pictures>,
        members: Option<Vec<u64>>,
        seed: u64,
        size: u32,
        transform: Transform,
    ) -> Result<Self> {
        let members = members.or_else(|| pictures.count().map(|count| (0..count).collect()));
        if members.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::data("training pictures", "at least one", "none"));
        }
        let epoch = members.as_ref().map_or(0, Vec::len);
        let (left_out, orders) = (Vec::new(), Mutex::default());
        Ok(Self { pictures, members, seed, size, transform, bucketed: None, left_out, epoch, orders })
    }

    /// The same pictures, each in the bucket that is nearest to its shape, and `batch_size` positions in a row from
    /// one bucket. Pictures whose size cannot be read are left out:
    /// [`TrainingSet::left_out`].
    ///
    /// # Errors
    /// `Error::Data` if none can be read, or the pictures have no end.
    pub fn in_buckets(mut self, buckets: Buckets, batch_size: usize) -> Result<Self> {
        let Some(members) = self.members.take() else {
            return Err(Error::data(
                "`data.buckets`",
                "pictures of different shapes",
                "the embedded data, which is square",
            ));
        };
        let (mut kept, mut of, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
        for i in members {
            match self.pictures.dimensions(i) {
                Ok(dimensions) => {
                    kept.push(i);
                    of.push(buckets.of(dimensions));
                }
                Err(error) => damaged.push(self.damaged(i, &error)),
            }
        }
        if kept.is_empty() {
            return Err(unreadable(&damaged));
        }
        self.members = Some(kept);
        self.bucketed = Some(Bucketed { buckets, of, batch_size });
        self.left_out = damaged;
        self.epoch = self.epoch_length().unwrap_or(0);
        Ok(self)
    }

    /// Pictures that have no place in any bucket, because they cannot be measured.
    pub fn left_out(&self) -> &[Damaged] {
        &self.left_out
    }

    /// A hash of what decides the pictures and captions, where they end: a resume on others is refused.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for &i in self.members.iter().flatten() {
            hash.update(i.to_le_bytes());
            for caption in self.pictures.captions(i).iter() {
                hash.update(caption);
                hash.update([0]);
            }
        }
        hex(&hash.finalize()[..8])
    }

    /// Positions of an epoch; `None` if there is no end. With buckets some pictures stand twice.
    pub fn epoch_length(&self) -> Option<usize> {
        let batches = |bucketed: &Bucketed| {
            let full = |bucket: usize| bucketed.of.iter().filter(|&&of| of == bucket).count();
            let counts = (0..bucketed.buckets.all().len()).map(full);
            counts.map(|count| count.div_ceil(bucketed.batch_size) * bucketed.batch_size).sum()
        };
        self.members.as_ref().map(|members| self.bucketed.as_ref().map_or(members.len(), batches))
    }

    /// Number of different pictures; `None` if there is no end to them.
    pub fn count(&self) -> Option<usize> {
        self.members.as_ref().map(Vec::len)
    }

    /// What the pictures are taken from.
    pub fn pictures(&self) -> &dyn Pictures {
        self.pictures.as_ref()
    }

    /// How they are brought to size.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }

    /// What stands at position `n`.
    pub fn place(&self, n: u64) -> Place {
        self.places(n).next().expect("the first place is always there")
    }

    /// What stands at position `n`, and what takes its place if that is damaged: the pictures that follow it in
    /// its epoch, of the same bucket.
    pub fn places(&self, n: u64) -> impl Iterator<Item = Place> + '_ {
        let square = (self.size, self.size);
        let (order, first) = match &self.members {
            None => (None, 0),
            Some(_) => {
                let length = self.epoch as u64;
                (Some(self.order(n / length)), (n % length) as usize)
            }
        };
        let bucket = |at: usize| self.bucketed.as_ref().map(|bucketed| bucketed.of[at]);
        let wanted = order.as_ref().and_then(|order| bucket(order[first]));
        let length = order.as_ref().map_or(MOST_DAMAGED_IN_A_ROW, |order| order.len());
        (0..length).filter_map(move |ahead| {
            let (Some(order), Some(members)) = (&order, &self.members) else {
                return Some(Place { picture: n + ahead as u64, size: square });
            };
            let at = order[(first + ahead) % order.len()];
            let size = match (&self.bucketed, wanted) {
                (Some(bucketed), Some(wanted)) if bucketed.of[at] == wanted => bucketed.buckets.all()[wanted],
                (Some(_), _) => return None,
                (None, _) => square,
            };
            Some(Place { picture: members[at], size })
        })
    }

    fn order(&self, epoch: u64) -> Arc<Vec<usize>> {
        // The map is whole at any time, whatever happened to the thread that held the lock.
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = orders.get(&epoch) {
            return order.clone();
        }
        let count = self.members.as_ref().map_or(0, Vec::len);
        let order = Arc::new(match &self.bucketed {
            None => Philox::new(self.seed, Purpose::Epoch, epoch).permutation(count),
            Some(bucketed) => buckets::batches(&bucketed.of, bucketed.batch_size, self.seed, epoch).concat(),
        });
        while orders.len() >= EPOCHS_KEPT {
            orders.pop_first();
        }
        orders.insert(epoch, order.clone());
        order
    }

    /// Picture and caption at position `n`; a picture that cannot be read gives its place to the next.
    ///
    /// # Errors
    /// `Error::Shape` if the transform refuses the picture's size; `Error::Data` if no picture near `n` can be
    /// read.
    pub fn item(&self, n: u64) -> Result<Item> {
        let mut damaged = Vec::new();
        for place in self.places(n).take(MOST_DAMAGED_IN_A_ROW) {
            match self.pictures.captioned(place.picture, self.transform.background) {
                Ok((picture, captions)) => {
                    let name = self.pictures.name(place.picture);
                    let caption = self.choose(n, &captions);
                    let image = self.transformed(n, place, picture)?;
                    return Ok(Item { image, caption, name, place, damaged });
                }
                Err(error) => damaged.push(self.damaged(place.picture, &error)),
            }
        }
        Err(unreadable(&damaged))
    }

    /// `picture` as position `n` sees it.
    ///
    /// # Errors
    /// `Error::Shape` if the transform refuses its size.
    pub fn transformed(&self, n: u64, place: Place, picture: RgbImage) -> Result<RgbImage> {
        let name = self.pictures.name(place.picture);
        self.transform.apply(picture, place.size, self.draws(n), &name)
    }

    /// What is known to be where in the picture `place`, as position `n` sees it: mirrored, cut and scaled as the
    /// picture is.
    ///
    /// # Errors
    /// As [`Pictures::objects`] and [`TrainingSet::transformed`].
    pub fn objects(&self, n: u64, place: Place) -> Result<Vec<DepictedObject>> {
        // What is beside the picture belongs to no object.
        let transform = Transform { background: [0; 3], ..self.transform };
        let name = self.pictures.name(place.picture);
        let seen = |DepictedObject { noun, mask }: DepictedObject| {
            let mask =
                transform.apply(DynamicImage::from(mask).to_rgb8(), place.size, self.draws(n), &name)?;
            Ok(DepictedObject { noun, mask: DynamicImage::from(mask).to_luma8() })
        };
        self.pictures.objects(place.picture)?.into_iter().map(seen).collect()
    }

    /// Whether position `n` sees its picture mirrored.
    pub fn is_mirrored(&self, n: u64) -> bool {
        self.transform.mirrors(self.draws(n))
    }

    fn draws(&self, n: u64) -> TransformDraws {
        Transform::draws(&mut Philox::new(self.seed, Purpose::Transform, n))
    }

    /// The picture of a place, cut in the middle, mirrored or not: what every position that has it sees of it, as
    /// long as crops are not random.
    ///
    /// # Errors
    /// As [`Pictures::picture`] and [`TrainingSet::item`].
    pub fn variant(&self, place: Place, mirrored: bool) -> Result<RgbImage> {
        let mut picture = self.pictures.picture(place.picture, self.transform.background)?;
        if mirrored {
            image::imageops::flip_horizontal_in_place(&mut picture);
        }
        let transform = Transform { flip: false, crop: Crop::Center, ..self.transform };
        let name = self.pictures.name(place.picture);
        transform.apply(picture, place.size, TransformDraws::default(), &name)
    }

    /// Every picture once, with its size.
    pub fn all(&self) -> Vec<Place> {
        let members = self.members.iter().flatten().enumerate();
        let size = |i: usize| match &self.bucketed {
            Some(bucketed) => bucketed.buckets.all()[bucketed.of[i]],
            None => (self.size, self.size),
        };
        members.map(|(i, &picture)| Place { picture, size: size(i) }).collect()
    }

    /// The caption at position `n`, of the picture `place`; empty if it has none.
    pub fn caption(&self, n: u64, place: Place) -> String {
        self.choose(n, &self.pictures.captions(place.picture))
    }

    fn choose(&self, n: u64, captions: &[String]) -> String {
        match captions {
            [] => String::new(),
            [only] => only.clone(),
            several => {
                let choice = Philox::new(self.seed, Purpose::CaptionChoice, n).below(several.len());
                several[choice].clone()
            }
        }
    }

    /// What there is to say of picture `i` that cannot be read.
    pub fn damaged(&self, i: u64, error: &Error) -> Damaged {
        Damaged { name: self.pictures.name(i), reason: error.to_string() }
    }
}

fn unreadable(damaged: &[Damaged]) -> Error {
    Error::data(
        "training pictures",
        "pictures that can be read",
        format!(
            "{} in a row that cannot, first: {}",
            damaged.len(),
            damaged.first().map_or("", |first| first.reason.as_str())
        ),
    )
}

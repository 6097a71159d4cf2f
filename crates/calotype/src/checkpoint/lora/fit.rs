//! Whether the tensors of a layer fit the weight that they change.

use std::path::Path;

use super::Shapes;
use super::key::Layer;
use crate::error::Error;

/// A tensor of the file that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Misfit {
    tensor: String,
    target: String,
    expected: String,
    got: String,
}

impl Misfit {
    /// The error; `note` is what else is known about the file.
    pub(super) fn error(self, file: &Path, note: Option<String>) -> Error {
        let what = format!("`{}`: tensor `{}` for `{}`", file.display(), self.tensor, self.target);
        Error::shape(what, self.expected, self.got + &note.unwrap_or_default())
    }
}

/// The rank of a layer whose tensors fit `target` of shape `[out, in]` or `[out, in, k, k]`.
///
/// A 1×1 convolution and a linear layer are the same matrix; files for models of the one kind are right for
/// the other.
pub(super) fn rank(
    tensors: &Shapes,
    layer: &Layer,
    target: &str,
    shape: &[usize],
) -> std::result::Result<usize, Misfit> {
    let of = |name: &Option<String>| {
        name.as_ref().and_then(|name| Some((name.clone(), tensors.get(name)?.clone())))
    };
    let misfit = |tensor: String, expected: String, got: &[usize]| Misfit {
        tensor,
        target: target.to_owned(),
        expected,
        got: list(got),
    };
    let (Some((down, down_shape)), Some((up, up_shape))) = (of(&layer.down), of(&layer.up)) else {
        return Err(misfit(String::new(), "`down` and `up`".into(), &[]));
    };
    let &[out, inputs, ..] = shape else {
        return Err(misfit(down, format!("a weight of two or more axes, not {}", list(shape)), &down_shape));
    };
    let (mid, kernel) = (of(&layer.mid), &shape[2..]);
    let rank = down_shape.first().copied().unwrap_or(0);
    let wanted = [&[rank, inputs][..], if mid.is_some() { &[] } else { kernel }].concat();
    if rank == 0 || plain(&down_shape) != plain(&wanted) {
        let sizes: Vec<String> = wanted[1..].iter().map(usize::to_string).collect();
        return Err(misfit(down, format!("[rank, {}]", sizes.join(", ")), &down_shape));
    }
    if let Some((mid, mid_shape)) = mid {
        let wanted = [&[rank, rank], kernel].concat();
        if plain(&mid_shape) != plain(&wanted) {
            return Err(misfit(mid, list(&wanted), &mid_shape));
        }
    }
    if plain(&up_shape) != [out, rank] {
        return Err(misfit(up, list(&[out, rank]), &up_shape));
    }
    match of(&layer.alpha) {
        Some((alpha, alpha_shape)) if alpha_shape.iter().any(|size| *size != 1) => {
            Err(misfit(alpha, "one number".into(), &alpha_shape))
        }
        _ => Ok(rank),
    }
}

/// A shape without the ones of a 1×1 kernel.
fn plain(shape: &[usize]) -> &[usize] {
    if matches!(shape, [_, _, 1, 1]) { &shape[..2] } else { shape }
}

fn list(shape: &[usize]) -> String {
    format!("{shape:?}")
}

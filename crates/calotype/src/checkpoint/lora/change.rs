//! The ways in which a file says how a weight changes: LoRA, and what LyCORIS adds to it.
//!
//! Yeh et al. 2023 (LyCORIS), arXiv:2309.14859. Where papers leave something open, the forward passes of the package
//! `lycoris_lora` decide.

use super::key::{Layer, Role};
use super::matrix::{Matrix, MatrixRoles};
use super::{LoraFile, Shapes};
use crate::error::Result;

/// ΔW, the change of a weight `[out, in]` or `[out, in, k, k]` at strength 1, before its scale.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// LoRA: ΔW = up · down, with weights as matrices `[out, in·k·k]`. Hu et al. 2021, arXiv:2106.09685, Eq. 3.
    ///
    /// If there is a `mid`, it is a kernel in Tucker's form (LyCORIS calls it CP, too):
    /// ΔW[o, i] = Σ_pq up[o, p] · mid[p, q] · down[q, i].
    LowRank {
        /// `[rank, in]` or `[rank, in, k, k]`; `[rank, in, 1, 1]` for a linear layer or with `mid`.
        down: String,
        /// `[out, rank]` or `[out, rank, 1, 1]`.
        up: String,
        /// `[rank, rank, k, k]`.
        mid: Option<String>,
    },
    /// LoHa: ΔW = first ⊙ second, place by place. Hyeon-Woo et al. 2022 (FedPara), arXiv:2108.06098, Proposition 1.
    Hadamard(Matrix, Matrix),
    /// LoKr: ΔW = first ⊗ second, Kronecker's product; a kernel belongs to the second. Edalati et al. 2022 (KronA),
    /// arXiv:2212.10650.
    Kronecker(Matrix, Matrix),
    /// The difference itself: of a weight, a bias or a norm.
    Difference(String),
    /// The weight itself, which takes the place of the model's at every strength but 0.
    Replacement(String),
    /// (IA)³: ΔW = W · w, channel by channel. Liu et al. 2022, arXiv:2205.05638, section 3.3, whose factors l are 1 + w.
    Channels {
        /// w, one number for each channel.
        weight: String,
        /// One number: 0 for channels of the output, 1 for those of the input.
        on_input: String,
    },
}

const HADAMARD: [MatrixRoles; 2] = [
    MatrixRoles { whole: None, a: Role::HadaA1, b: Role::HadaB1, core: Some(Role::HadaT1) },
    MatrixRoles { whole: None, a: Role::HadaA2, b: Role::HadaB2, core: Some(Role::HadaT2) },
];

const KRONECKER: [MatrixRoles; 2] = [
    MatrixRoles { whole: Some(Role::LokrW1), a: Role::LokrA1, b: Role::LokrB1, core: None },
    MatrixRoles { whole: Some(Role::LokrW2), a: Role::LokrA2, b: Role::LokrB2, core: Some(Role::LokrT2) },
];

impl Change {
    /// The change of the layer's weight; `None` if its tensors are of none, or of a bias alone.
    ///
    /// # Errors
    /// `Error::Format` for a tensor without those that belong to it, or two methods in one layer.
    pub(super) fn of(layer: &Layer, file: LoraFile) -> Result<Option<Self>> {
        let has = |roles: &[Role]| roles.iter().any(|role| layer.get(*role).is_some());
        let mut changes = vec![];
        if has(&[Role::Down, Role::Up, Role::Mid]) {
            let (down, up) = (layer.expect(Role::Down, file)?, layer.expect(Role::Up, file)?);
            changes.push(Self::LowRank { down, up, mid: layer.get(Role::Mid).cloned() });
        }
        if HADAMARD.iter().any(|roles| roles.any(layer)) {
            let [first, second] = HADAMARD.each_ref().map(|roles| roles.matrix(layer, file));
            if has(&[Role::HadaT1, Role::HadaT2]) {
                layer.expect(Role::HadaT1, file)?;
                layer.expect(Role::HadaT2, file)?;
            }
            changes.push(Self::Hadamard(first?, second?));
        }
        if KRONECKER.iter().any(|roles| roles.any(layer)) {
            let [first, second] = KRONECKER.each_ref().map(|roles| roles.matrix(layer, file));
            changes.push(Self::Kronecker(first?, second?));
        }
        if has(&[Role::OnInput, Role::Channels]) {
            let (weight, on_input) =
                (layer.expect(Role::Channels, file)?, layer.expect(Role::OnInput, file)?);
            changes.push(Self::Channels { weight, on_input });
        }
        changes.extend(layer.get(Role::Difference).cloned().map(Self::Difference));
        changes.extend(layer.get(Role::Replacement).cloned().map(Self::Replacement));
        if let [first, second, ..] = &changes[..] {
            let (first, second) = (first.first_tensor(), second.first_tensor());
            let reason =
                format!("`{first}` and `{second}` change one layer in two ways; two adapters in one file?");
            return Err(file.fault(reason));
        }
        Ok(changes.pop())
    }

    /// How many columns of a weight it changes, of the kinds whose tensors say so alone.
    pub(super) fn inputs(&self, tensors: &Shapes) -> Option<usize> {
        let of_columns = match self {
            Self::LowRank { down, .. } => down,
            Self::Hadamard(first, _) => first.of_columns(),
            Self::Difference(tensor) | Self::Replacement(tensor) => tensor,
            Self::Kronecker(..) | Self::Channels { .. } => return None,
        };
        tensors.get(of_columns)?.get(1).copied()
    }

    /// A tensor of it, for messages.
    pub(super) fn first_tensor(&self) -> &str {
        match self {
            Self::LowRank { down, .. } => down,
            Self::Hadamard(first, _) | Self::Kronecker(first, _) => first.of_rows(),
            Self::Difference(tensor) | Self::Replacement(tensor) | Self::Channels { weight: tensor, .. } => {
                tensor
            }
        }
    }
}

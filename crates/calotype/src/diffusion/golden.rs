//! Golden cases for the tests of `diffusion` and `sampler`: read, select, compare.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::Value;

use super::NoiseSchedule;
use crate::Result;

pub(crate) const SCHEDULES: &str = include_str!("../../tests/golden/public_schedules.json");
pub(crate) const SAMPLERS: &str = include_str!("../../tests/golden/public_samplers.json");
pub(crate) const LOSSES: &str = include_str!("../../tests/golden/public_losses.json");

/// One case of a golden file.
#[derive(serde::Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    kind: String,
    pub(crate) inputs: Value,
    pub(crate) expected: Value,
    tol: Tolerance,
}

#[derive(serde::Deserialize)]
struct Tolerance {
    abs: f64,
    rel: f64,
}

/// The cases of one kind.
pub(crate) fn cases(file: &str, kind: &str) -> Vec<Case> {
    #[derive(serde::Deserialize)]
    struct File {
        cases: Vec<Case>,
    }
    let file: File = serde_json::from_str(file).unwrap();
    file.cases.into_iter().filter(|case| case.kind == kind).collect()
}

/// The case's `schedule` object (`linear` and `scaled_linear`).
pub(crate) fn schedule(case: &Case) -> Result<NoiseSchedule> {
    let spec = &case.inputs["schedule"];
    let kind = serde_json::from_value(spec["schedule"].clone()).unwrap();
    let number = |key: &str| spec[key].as_f64().unwrap();
    NoiseSchedule::new(kind, number("beta_start"), number("beta_end"), spec["T"].as_u64().unwrap() as usize)
}

/// Values as a double-precision tensor `[n, 1, 1, 1]`: the cases are tighter than `f32`.
pub(crate) fn tensor(values: &[f64]) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1, 1, 1]);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

/// The values of a tensor, row by row.
pub(crate) fn values(x: Tensor<4>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// An array, nested or not, or the array object `ramp`.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Object(ramp) if ramp["gen"] == "ramp" => {
            let number = |key: &str| ramp[key].as_f64().unwrap();
            (0..number("n") as usize).map(|i| number("start") + number("step") * i as f64).collect()
        }
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

impl Case {
    pub(crate) fn expects_error(&self) -> bool {
        self.expected["error"] == true
    }

    pub(crate) fn number(&self, key: &str) -> f64 {
        self.inputs[key].as_f64().unwrap()
    }

    pub(crate) fn numbers(&self, key: &str) -> Vec<f64> {
        flat(&self.inputs[key])
    }

    pub(crate) fn integers(&self, key: &str) -> Vec<usize> {
        self.numbers(key).into_iter().map(|x| x as usize).collect()
    }

    /// Compares with `expected[key]` under the case's tolerance. A case may list only some keys.
    pub(crate) fn check(&self, key: &str, got: &[f64]) {
        if self.expected.get(key).is_none() {
            return;
        }
        let expected = flat(&self.expected[key]);
        assert_eq!(got.len(), expected.len(), "{}: length of {key}", self.id);
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let allowed = self.tol.abs + self.tol.rel * expected.abs();
            assert!(
                (got - expected).abs() <= allowed,
                "{}: {key}[{i}]: expected {expected}, got {got}",
                self.id
            );
        }
    }
}

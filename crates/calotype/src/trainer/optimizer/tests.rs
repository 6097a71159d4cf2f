//! Golden steps, exact resume, refusals and settings.

use serde_json::Value;

use super::*;
use crate::rng::{Philox, Purpose};

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/optimizers.json");
    serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap()["optimizers"].take()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn tensors(golden: &Value, values: &Value) -> Vec<NamedTensor> {
    let tensor = |(name, shape): (&String, &Value)| NamedTensor {
        name: name.clone(),
        shape: list(shape),
        values: list(&values[name]),
    };
    golden["shapes"].as_object().unwrap().iter().map(tensor).collect()
}

fn config(text: &str) -> OptimizerConfig {
    let config: OptimizerConfig = toml::from_str(text).unwrap();
    config.validate().unwrap();
    config.filled_in()
}

/// Settings of every rule, with averages of both kinds.
const EVERY_RULE: [&str; 5] = [
    "",
    "rule = 'lion'\nema_decay = 0.9\nemas = [{ power = { sigma_rel = 0.1 } }]",
    "rule = 'adafactor'\nemas = [{ power = { sigma_rel = 0.05 } }, { power = { sigma_rel = 0.1 } }]",
    "rule = 'adafactor'\nscale_parameter = false\nemas = [{ decay = 0.5 }]",
    "rule = 'muon'",
];

/// Moments of a weight that has no gradient any more fall by a tenth a step: to zero, not to a subnormal number that
/// rounding keeps alive.
#[test]
fn moments_without_gradients_end_at_zero() {
    for rule in ["rule = 'adamw'\nbeta_2 = 0.9", "rule = 'lion'\nbeta_2 = 0.9"] {
        let tensor = |value| NamedTensor { name: "x".into(), shape: vec![3], values: vec![value; 3] };
        let mut optimizer = Optimizer::new(vec![tensor(1.0)], config(rule));
        let moments = |optimizer: &Optimizer| -> Vec<f32> {
            let state = optimizer.state();
            let moments = state.iter().filter(|(name, ..)| name.starts_with("m.") || name.starts_with("v."));
            moments.flat_map(|(.., values)| values.iter().copied()).collect()
        };
        optimizer.step(&[tensor(0.5)], 1e-3).unwrap();
        assert!(moments(&optimizer).iter().all(|m| *m != 0.0), "{rule}");
        for _ in 0..1000 {
            optimizer.step(&[tensor(0.0)], 1e-3).unwrap();
            assert!(!moments(&optimizer).iter().any(|m| m.is_subnormal()), "{rule}");
        }
        assert!(moments(&optimizer).iter().all(|m| *m == 0.0), "{rule}");
    }
}

#[test]
fn every_rule_takes_the_reference_implementations_steps() {
    let golden = golden();
    let [weight_decay, max_norm] = ["weight_decay", "max_gradient_norm"].map(|key| golden[key].clone());
    for (name, rule) in [
        ("adamw", "rule = 'adamw'\nbeta_2 = 0.99"),
        ("lion", "rule = 'lion'"),
        ("muon", "rule = 'muon'\nhidden_rate = 1.0"),
        ("adafactor", "rule = 'adafactor'"),
        ("adafactor_unscaled", "rule = 'adafactor'\nscale_parameter = false"),
    ] {
        let text = format!("{rule}\nweight_decay = {weight_decay}\nmax_gradient_norm = {max_norm}");
        let mut optimizer = Optimizer::new(tensors(&golden, &golden["initial"]), config(&text));
        let rates: Vec<f64> = list(&golden["learning_rates"]);
        let norms: Vec<f64> = list(&golden["norms"]);
        for ((gradients, rate), norm) in golden["gradients"].as_array().unwrap().iter().zip(rates).zip(norms)
        {
            let found = optimizer.step(&tensors(&golden, gradients), rate).unwrap();
            assert!((found / norm - 1.0).abs() < 1e-12);
        }
        let expected = tensors(&golden, &golden["results"][name]);
        for ((found_name, _, found), expected) in optimizer.values().zip(&expected) {
            assert_eq!(found_name, expected.name);
            let largest = expected.values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (found, expected) in found.iter().zip(&expected.values) {
                let error = (found - expected).abs();
                assert!(error <= 1e-6 * largest, "{name} {found_name}: {found} {expected}");
            }
        }
    }
}

/// A norm, a layer and a kernel.
fn parameters() -> Vec<NamedTensor> {
    let shapes = [("norm.weight", vec![7]), ("layer.weight", vec![5, 6]), ("conv.weight", vec![3, 2, 3, 3])];
    let mut rng = Philox::new(0, Purpose::Weights, 0);
    let tensor = |(name, shape): (&str, Vec<usize>)| NamedTensor {
        name: name.into(),
        values: rng.normals(shape.iter().product()),
        shape,
    };
    shapes.into_iter().map(tensor).collect()
}

fn gradients(step: usize) -> Vec<NamedTensor> {
    let mut rng = Philox::new(0, Purpose::Batch, step as u64);
    let mut gradients = parameters();
    gradients.iter_mut().for_each(|g| g.values = rng.normals(g.values.len()));
    gradients
}

fn run(optimizer: &mut Optimizer, steps: std::ops::Range<usize>) {
    steps.for_each(|step| {
        optimizer.step(&gradients(step), 0.01).unwrap();
    });
}

fn by_name(state: Vec<(String, &[usize], &[f32])>) -> HashMap<String, NamedTensor> {
    let named = |(name, shape, values): (String, &[usize], &[f32])| {
        (name.clone(), NamedTensor { name, shape: shape.to_vec(), values: values.to_vec() })
    };
    state.into_iter().map(named).collect()
}

#[test]
fn a_resumed_run_and_any_number_of_threads_have_the_same_bits() {
    for text in EVERY_RULE {
        let new = || Optimizer::new(parameters(), config(text));
        let mut whole = new();
        run(&mut whole, 0..9);

        let mut first = new();
        run(&mut first, 0..4);
        let mut second = new();
        second.restore(Path::new("state"), by_name(first.state()), first.steps()).unwrap();
        run(&mut second, 4..9);
        assert_eq!(second.state(), whole.state(), "{text}");
        assert_eq!(second.steps(), 9);

        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let mut threads = new();
        pool.install(|| run(&mut threads, 0..9));
        assert_eq!(threads.state(), whole.state(), "{text}");
    }
}

#[test]
fn the_state_names_every_moment_and_average() {
    let names = |text: &str| {
        let optimizer = Optimizer::new(parameters(), config(text));
        let names = optimizer.state().into_iter().map(|(name, ..)| name);
        let of_layer = |name: String| name.strip_suffix(".layer.weight").map(str::to_owned);
        names.filter_map(of_layer).collect::<Vec<_>>().join(" ")
    };
    let expected = [
        "value m v average",
        "value m average average_2",
        "value row column average average_2",
        "value row column average",
        "value m average",
    ];
    assert_eq!(EVERY_RULE.map(names), expected);
    let state = by_name(Optimizer::new(parameters(), config(EVERY_RULE[2])).state());
    assert_eq!(state["row.conv.weight"].shape, [3, 2, 3]);
    assert_eq!(state["v.norm.weight"].shape, [7]);
}

#[test]
fn a_state_of_other_settings_is_refused() {
    let mut optimizer = Optimizer::new(parameters(), config(EVERY_RULE[0]));
    for text in &EVERY_RULE[1..] {
        let other = Optimizer::new(parameters(), config(text));
        let refused = optimizer.restore(Path::new("state"), by_name(other.state()), 3);
        assert!(matches!(refused, Err(Error::Weights { .. })), "{text}");
    }
    let two = config("ema_decay = 0.999\nemas = [{ decay = 0.9 }]");
    let state = by_name(Optimizer::new(parameters(), two).state());
    let error = optimizer.restore(Path::new("state"), state, 3).unwrap_err().to_string();
    assert!(error.contains("`average_2.conv.weight`: expected no such tensor"), "{error}");
}

#[test]
fn bad_gradients_change_nothing() {
    for text in EVERY_RULE {
        let mut optimizer = Optimizer::new(parameters(), config(text));
        run(&mut optimizer, 0..2);
        let before = optimizer.clone();
        for bad in [f32::NAN, f32::INFINITY] {
            let mut gradients = gradients(2);
            gradients[1].values[3] = bad;
            let error = optimizer.step(&gradients, 0.01).unwrap_err().to_string();
            assert!(error.starts_with("gradient of `layer.weight` is not finite at step 2"), "{error}");
        }
        let change: [fn(&mut Vec<NamedTensor>); 4] = [
            |g| g[0].name.push('x'),
            |g| g[1].shape.swap(0, 1),
            |g| g[2].values.truncate(1),
            |g| g.truncate(2),
        ];
        for change in change {
            let mut gradients = gradients(2);
            change(&mut gradients);
            assert!(matches!(optimizer.step(&gradients, 0.01), Err(Error::Shape { .. })));
        }
        assert_eq!((optimizer.state(), optimizer.steps()), (before.state(), 2));
    }
}

#[test]
fn only_matrices_and_kernels_decay() {
    for text in EVERY_RULE {
        let mut optimizer = Optimizer::new(parameters(), config(&format!("weight_decay = 0.5\n{text}")));
        let mut zero = parameters();
        zero.iter_mut().for_each(|g| g.values.fill(0.0));
        optimizer.step(&zero, 0.01).unwrap();
        for ((_, shape, values), before) in optimizer.values().zip(parameters()) {
            let moved = values.iter().zip(&before.values).all(|(x, y)| x.abs() < y.abs());
            let same = values == before.values;
            assert_eq!((moved, same), (shape.len() > 1, shape.len() == 1), "{text} {shape:?}");
        }
    }
}

#[test]
fn constraints_hold_for_weights_and_every_average() {
    let mut optimizer = Optimizer::new(parameters(), config(EVERY_RULE[1]));
    run(&mut optimizer, 0..2);
    optimizer.constrain("norm.weight", |x| x.min(-5.0));
    let averages = (0..2).flat_map(|i| optimizer.average(i).unwrap());
    for (name, _, values) in optimizer.values().chain(averages) {
        assert_eq!(values.iter().all(|&x| x == -5.0), name == "norm.weight");
    }
    assert!(optimizer.average(2).is_none());
    optimizer.check_finite().unwrap();
    optimizer.constrain("conv.weight", |_| f32::INFINITY);
    let error = optimizer.check_finite().unwrap_err().to_string();
    assert_eq!(error, "parameter `conv.weight` is not finite at step 2: got inf");
}

#[test]
fn settings_are_written_with_their_defaults_and_read_again() {
    let written = |text| serde_json::to_string(&config(text)).unwrap();
    let defaults = r#"{"rule":"adamw","beta_1":0.9,"beta_2":0.99,"epsilon":1e-8,"weight_decay":0.01,"#
        .to_owned()
        + r#""max_gradient_norm":1.0,"ema_decay":0.999}"#;
    assert_eq!(written(""), defaults);
    let all_set = "beta_1 = 0.8\nbeta_2 = 0.95\nepsilon = 1e-6\nweight_decay = 0\nmax_gradient_norm = 2\n\
                   ema_decay = 0.9";
    let expected = r#"{"rule":"adamw","beta_1":0.8,"beta_2":0.95,"epsilon":1e-6,"weight_decay":0.0,"#
        .to_owned()
        + r#""max_gradient_norm":2.0,"ema_decay":0.9}"#;
    assert_eq!(written(all_set), expected);
    assert_eq!(config(all_set).averages(), [EmaConfig::Decay(0.9)]);
    let lion = r#"{"rule":"lion","beta_1":0.9,"beta_2":0.99,"weight_decay":0.01,"#.to_owned()
        + r#""max_gradient_norm":1.0,"ema_decay":0.9,"emas":[{"power":{"sigma_rel":0.1}}]}"#;
    assert_eq!(written(EVERY_RULE[1]), lion);
    for text in EVERY_RULE {
        assert_eq!(config(&toml::to_string(&config(text)).unwrap()), config(text));
        assert_eq!(serde_json::from_str::<OptimizerConfig>(&written(text)).unwrap(), config(text));
    }
    assert_ne!(config(EVERY_RULE[2]), config(EVERY_RULE[3]));
}

#[test]
fn settings_out_of_range_are_refused_by_key() {
    for (text, key) in [
        ("beta_1 = 1.0", "beta_1"),
        ("rule = 'lion'\nbeta_2 = -0.1", "beta_2"),
        ("epsilon = 0.0", "epsilon"),
        ("rule = 'lion'\nepsilon = 1e-8", "epsilon"),
        ("rule = 'adafactor'\nbeta_1 = 0.9", "beta_1"),
        ("rule = 'muon'\nmomentum = 1.0", "momentum"),
        ("rule = 'muon'\nhidden_rate = 0.0", "hidden_rate"),
        ("momentum = 0.9", "momentum"),
        ("rule = 'lion'\nhidden_rate = 2.0", "hidden_rate"),
        ("rule = 'adafactor'\nbeta_2 = 0.9", "beta_2"),
        ("scale_parameter = true", "scale_parameter"),
        ("weight_decay = -1.0", "weight_decay"),
        ("weight_decay = nan", "weight_decay"),
        ("max_gradient_norm = 0.0", "max_gradient_norm"),
        ("ema_decay = 1.0", "ema_decay"),
        ("emas = [{ decay = 1.5 }]", "emas"),
        ("emas = [{ power = { sigma_rel = 0.3 } }]", "emas"),
    ] {
        let config: OptimizerConfig = toml::from_str(text).unwrap();
        let (found, expected, got) = config.validate().unwrap_err();
        assert_eq!(found, key, "{text}: {expected} {got}");
    }
    for (text, reason) in [
        ("rule = 'sgd'", "`sgd`"),
        ("beta1 = 0.9", "`beta1`"),
        ("emas = [{ power = { sigma = 0.1 } }]", "unexpected keys in table: sigma,"),
    ] {
        let error = toml::from_str::<OptimizerConfig>(text).unwrap_err();
        assert!(error.message().contains(reason), "{text}: {error}");
    }
}

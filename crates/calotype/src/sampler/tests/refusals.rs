//! What cannot be sampled, and names that nobody has.

use super::*;
use crate::testing::assert_refuses;

#[test]
fn refuses_what_cannot_be_sampled() {
    let config = SchedulerConfig::default();
    for kind in [SamplerKind::Ddpm, SamplerKind::Ddim] {
        for steps in [0, 1001, usize::MAX] {
            assert_refuses(
                VpSampler::new(&config, &SamplerSettings::new(kind, steps)),
                "steps: expected 1 to",
            );
        }
        // leading with steps_offset 1: the first of 1000 timesteps would be 1000
        let error = Sampler::new(&config, &SamplerSettings::new(kind, 1000)).unwrap_err().to_string();
        assert!(error.contains("steps_offset 1"), "{error}");
    }
    let with_eta =
        |kind, eta| Sampler::new(&config, &SamplerSettings { eta, ..SamplerSettings::new(kind, 2) });
    assert!(with_eta(SamplerKind::Ddim, 1.0).is_ok());
    for (kind, eta) in [
        (SamplerKind::Ddim, 1.1),
        (SamplerKind::Ddim, f64::NAN),
        (SamplerKind::Ddpm, 0.5),
        (SamplerKind::Euler, 0.5),
    ] {
        assert_refuses(with_eta(kind, eta), "eta: expected 0");
    }
    let karras = |kind| {
        let schedule = Some(SigmaSpacing::Karras);
        Sampler::new(&config, &SamplerSettings { schedule, ..SamplerSettings::new(kind, 5) })
    };
    assert!(karras(SamplerKind::Heun).is_ok());
    assert_refuses(karras(SamplerKind::Ddim), "schedule: expected");
    for kind in SamplerKind::ALL {
        let flow = SchedulerClass::FlowMatchEulerDiscrete.constructor_defaults();
        let settings = SamplerSettings::new(kind, 5);
        assert_eq!(Sampler::new(&flow, &settings).is_ok(), kind.is_flow(), "{kind}");
        assert_eq!(Sampler::new(&config, &settings).is_ok(), !kind.is_flow(), "{kind}");
    }
    let sampler = vp(SamplerKind::Ddim, &config, 2);
    let mut wrong_shape = |_: &Tensor<4>, _: Timestep| Ok(tensor(&[0.0, 0.0]));
    let mut source = NoiseSource::new(Generator::Philox, 0, &[0]);
    let result = sampler.sample(tensor(&[1.0]), &mut source, &mut wrong_shape, &mut |_, _| ());
    assert!(matches!(result, Err(Error::Shape { .. })));
}

#[test]
fn names_come_from_one_list() {
    for kind in SamplerKind::ALL {
        assert_eq!(kind.to_string().parse::<SamplerKind>().unwrap(), kind);
    }
    let error = "euler_b".parse::<SamplerKind>().unwrap_err().to_string();
    assert!(error.contains("ddpm, ddim") && error.contains("euler_b"), "{error}");
}

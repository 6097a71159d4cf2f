//! Models of EDM's form: what their network is told, where a run ends, and who may sample them.

use super::*;
use crate::diffusion::Edm;
use crate::sampler::heun::Heun;
use crate::sampler::solver::solve;

fn parse(class: &str, more: &str) -> SchedulerConfig {
    SchedulerConfig::parse(&format!(r#"{{"_class_name": "{class}"{more}}}"#)).unwrap()
}

/// F of Gaussian data, from D in closed form.
fn edm_network(edm: Edm, model: Gaussian) -> impl FnMut(&Tensor<4>, Timestep) -> Result<Tensor<4>> {
    move |input: &Tensor<4>, Timestep { t, sigma }: Timestep| {
        let c = edm.at(sigma)?;
        assert!((t - sigma.ln() / 4.0).abs() < 1e-12, "{t} at {sigma}");
        let x = input.clone() / c.c_in;
        Ok((model.x_0(&x, sigma) - x * c.c_skip) / c.c_out)
    }
}

#[test]
fn a_run_ends_where_the_ode_leads() {
    let model = Gaussian { m: 0.3, s: 0.7 };
    for more in ["", r#", "sigma_data": 1.0, "prediction_type": "v_prediction""#] {
        let config = parse("EDMEulerScheduler", more);
        let edm = Edm::of(&config).unwrap().unwrap();
        let settings = SamplerSettings::new(SamplerKind::Heun, 200);
        let (unit, first) = ([-1.2, 0.1, 2.0], 80.0_f64.hypot(1.0));
        let mut noise = NoiseSource::new(Generator::Philox, 0, &[0, 1, 2]);
        let sampler = Sampler::new(&config, &settings).unwrap();
        let mut network = edm_network(edm, model);
        let got = sampler.sample(tensor(&unit), &mut noise, &mut network, &mut |_, _| ()).unwrap();

        let sigmas = [edm.sigmas(200, None).unwrap(), vec![0.0]].concat();
        let mut denoise = |x: &Tensor<4>, sigma: f64| Ok(model.x_0(x, sigma));
        let start = tensor(&unit) * first;
        let mut heun = Heun::default();
        let by_hand = solve(&mut heun, start, &sigmas, &mut denoise, &mut noise, &mut |_, _| ()).unwrap();
        for ((got, by_hand), unit) in values(got).into_iter().zip(values(by_hand)).zip(unit) {
            assert!((got - by_hand).abs() < 1e-9, "{got}, without a network {by_hand}");
            let exact = model.flow(unit * first, (1.0, 80.0), (1.0, 0.0));
            assert!((got - exact).abs() < 1e-3, "{got}, exactly {exact}");
        }
    }
}

/// What the network is given in four steps, and the end, of diffusers 0.27.2 with `sigma_data=0.4, sigma_max=10` and its
/// levels in double precision: from unit noise [0.3, −0.8], with the outputs below one after the other.
#[test]
fn whole_runs_are_those_of_diffusers() {
    const EULER: &str = "EDMEulerScheduler";
    const DPM: &str = "EDMDPMSolverMultistepScheduler";
    let outputs = [[0.5, -1.0], [0.25, 0.75], [-0.5, 1.5], [1.0, -0.25]];
    #[rustfmt::skip]
    let cases = [
        (EULER, "epsilon", [
            [0.30125536066976194, -0.8033476284526985], [0.40070443304229764, -0.9976509148891686],
            [0.4210438712122313, 0.1268809869110808], [0.26437883679930924, 0.5413905398038253],
            [0.10775019303425933, 0.21605351548526489],
        ]),
        (EULER, "v_prediction", [
            [0.30125536066976194, -0.8033476284526985], [0.1880216190886579, -0.5722852869818884],
            [-0.11694747568007384, -0.9378046991638542], [0.02757885007802109, -1.3199443155980504],
            [0.009031427274497498, -0.5274711547407885],
        ]),
        (DPM, "epsilon", [
            [0.30125536066976194, -0.8033476284526985], [0.40070443442742304, -0.9976508871552482],
            [0.31877241609545903, 1.0390384788401603], [0.02561809730609311, 2.1598365491961875],
            [0.012247085834821102, 0.8634238269480924],
        ]),
        (DPM, "v_prediction", [
            [0.30125536066976194, -0.8033476284526985], [0.18802162047378324, -0.5722852592479685],
            [0.060431590557978664, -2.050249163249327], [0.5072307814876766, -3.5807668926462393],
            [0.2008898014882464, -1.4317888598096054],
        ]),
    ];
    for (class, prediction, expected) in cases {
        let model = format!(r#", "sigma_data": 0.4, "sigma_max": 10.0, "prediction_type": "{prediction}""#);
        let config = parse(class, &model);
        let settings = SamplerSettings::new(SamplerKind::from_config(&config).unwrap(), 4);
        let sampler = Sampler::new(&config, &settings).unwrap();
        let (mut path, mut asked) = (Vec::new(), Vec::new());
        let mut network = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
            path.push(values(x.clone()));
            asked.push(t);
            Ok(tensor(&outputs[asked.len() - 1]))
        };
        let mut noise = NoiseSource::new(Generator::Philox, 0, &[0, 1]);
        let start = tensor(&[0.3, -0.8]);
        let end = sampler.sample(start, &mut noise, &mut network, &mut |_, _| ()).unwrap();
        path.push(values(end));
        for (got, expected) in path.iter().zip(expected) {
            let far = got.iter().zip(expected).any(|(got, expected)| (got - expected).abs() > 1e-6);
            assert!(!far, "{class} {prediction}: {got:?}, expected {expected:?}");
        }
        let told = [0.5756462732485115, 0.10776718268927202, -0.5327651874950537, -1.5536520246055476];
        assert!(asked.iter().zip(told).all(|(got, told)| (got - told).abs() < 1e-9), "{asked:?}");
    }
}

#[test]
fn the_file_decides_and_what_has_no_sigma_is_refused() {
    let euler = parse("EDMEulerScheduler", r#", "sigma_min": 0.01, "sigma_max": 10.0"#);
    assert_eq!(SamplerKind::from_config(&euler).unwrap(), SamplerKind::Euler);
    let dpm = parse("EDMDPMSolverMultistepScheduler", "");
    assert_eq!(SamplerKind::from_config(&dpm).unwrap(), SamplerKind::DpmPp2M);
    let to_the_last = parse("EDMEulerScheduler", r#", "final_sigmas_type": "sigma_min""#);
    let error = SamplerKind::from_config(&to_the_last).unwrap_err();
    assert!(matches!(&error, Error::Config { key, .. } if key == "final_sigmas_type"), "{error}");
    for kind in SamplerKind::ALL {
        let sampler = Sampler::new(&euler, &SamplerSettings::new(kind, 5));
        assert_eq!(sampler.is_ok(), kind.works_in_sigma(), "{kind}");
        if let Err(error) = sampler {
            assert!(matches!(&error, Error::Argument { name, .. } if name == "sampler"), "{kind}: {error}");
        }
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_flex::{FlexTensor, Layout};
use burn_std::{AllocationProperty, DType, Reader};
use rayon::ThreadPoolBuilder;

use super::*;
use crate::mapped::MappedFile;
use crate::{Products, linear};

/// Blocks of a factor and as many bytes with a sign.
fn unpack(numbers: usize) -> impl Fn(&[u8], &mut [f32]) + Send + Sync + 'static {
    move |packed, values| {
        for (block, values) in packed.chunks_exact(numbers + 1).zip(values.chunks_exact_mut(numbers)) {
            let factor = f32::from(block[0]) / 16.0 + 0.1;
            values.iter_mut().zip(&block[1..]).for_each(|(to, q)| *to = factor * f32::from(*q as i8));
        }
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect()
}

fn matrix(shape: [usize; 2], numbers: usize) -> QuantisedMatrix {
    let length = shape[0] * shape[1] / numbers * (numbers + 1);
    let bytes = Bytes::from_bytes_vec(bytes(length));
    QuantisedMatrix::new(bytes, shape, (numbers, numbers + 1), Box::new(unpack(numbers))).unwrap()
}

fn floats(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) as f32 / 32768.0 - 1.0)
        .collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn products_are_those_of_the_unpacked_matrix_bit_for_bit() {
    // (rows of x, numbers of a block, input, output); the last need several groups of panels.
    let shapes = [
        (1, 1, 1, 1),
        (3, 1, 7, 33),
        (77, 1, 301, 40),
        (5, 3, 9, 31),
        (2, 32, 32, 1),
        (13, 32, 96, 65),
        (130, 256, 512, 48),
        (1, 32, 4128, 700),
        (50, 32, 4128, 333),
    ];
    for (rows, numbers, input, output) in shapes {
        let matrix = matrix([output, input], numbers);
        let (x, bias) = (floats(rows * input, 1), floats(output, 2));
        let unpacked = matrix.unpacked();
        for isa in Isa::available().into_iter().chain(Isa::tested_bf16()) {
            let expected = bits(&linear::forward(isa, &x, &unpacked, &bias, input));
            for threads in [1, 2, 5] {
                let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| matrix.linear(isa, &x, &bias));
                assert!(bits(&got) == expected, "{isa:?}, {threads} threads: {rows} × {input} × {output}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_no_matrix() {
    let of = |length: usize, shape: [usize; 2], block: (usize, usize)| {
        let bytes = Bytes::from_bytes_vec(vec![0; length]);
        QuantisedMatrix::new(bytes, shape, block, Box::new(unpack(32))).is_some()
    };
    assert!(of(66, [1, 64], (32, 33)) && of(0, [0, 64], (32, 33)));
    assert!(!of(66, [2, 32], (64, 66)), "a block lies in two rows");
    assert!(!of(65, [1, 64], (32, 33)) && !of(67, [1, 64], (32, 33)));
    assert!(!of(0, [2, 0], (32, 33)) && !of(0, [1, 64], (32, 0)) && !of(0, [1, 64], (0, 33)));
    assert!(!of(66, [usize::MAX / 2, 64], (32, 33)));
}

fn flex(matrix: QuantisedMatrix) -> FlexTensor {
    let shape = [matrix.rows, matrix.columns];
    FlexTensor::new(matrix.into_bytes(), Layout::contiguous(shape.into()), DType::F32)
}

#[test]
fn a_tensor_stays_packed_until_somebody_writes() {
    let unpacked = matrix([4, 64], 32).unpacked();
    let tensor = flex(matrix([4, 64], 32));
    let found = of(&tensor).unwrap();
    assert!(of(&tensor.clone()).is_some_and(|again| Arc::ptr_eq(&again, &found)));
    // A part, a transpose and another shape are other matrices.
    assert!(of(&tensor.narrow(0, 0, 2)).is_none() && of(&tensor.transpose(0, 1)).is_none());
    assert!(of(&tensor.reshape([8, 32].into())).is_none());
    assert!(of(&FlexTensor::zeros([4, 64].into(), DType::F32)).is_none());
    assert!(tensor.data_arc().read(Reader::new().no_copy()).is_err(), "nobody has looked");
    assert_eq!(tensor.data_arc().property(), AllocationProperty::File);

    assert_eq!(tensor.as_slice::<f32>().unwrap(), unpacked);
    assert!(of(&tensor).is_some() && tensor.data_arc().property() == AllocationProperty::Other);
    assert_eq!(tensor.transpose(0, 1).to_contiguous().as_slice::<f32>().unwrap()[1], unpacked[64]);

    let mut written = tensor.clone();
    written.storage_mut::<f32>()[3] = 7.0;
    assert!(of(&written).is_none() && of(&tensor).is_some());
    assert_eq!(
        (tensor.as_slice::<f32>().unwrap()[3], written.as_slice::<f32>().unwrap()[3]),
        (unpacked[3], 7.0)
    );
    assert_eq!(written.as_slice::<f32>().unwrap()[4..], unpacked[4..]);
}

#[test]
fn threads_that_look_together_see_the_same_numbers() {
    let unpacked = matrix([300, 512], 32).unpacked();
    let tensor = flex(matrix([300, 512], 32));
    let pool = ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    pool.install(|| {
        (0..64).into_par_iter().for_each(|_| assert_eq!(tensor.as_slice::<f32>().unwrap(), unpacked));
    });
}

/// The file of a matrix is mapped as long as a tensor or a product has it.
#[test]
#[cfg(target_os = "linux")]
fn who_drops_the_last_tensor_gives_the_file_back() {
    let path = std::env::temp_dir().join(format!("calotype-quantised-{}", std::process::id()));
    std::fs::write(&path, bytes(4 * 66)).unwrap();
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(path.to_str().unwrap())
    };
    let file = MappedFile::open(&path).unwrap().bytes(0..4 * 66, 1);
    let matrix = QuantisedMatrix::new(file, [4, 64], (32, 33), Box::new(unpack(32))).unwrap();
    let data = TensorData::from_bytes(matrix.into_bytes(), [4, 64], DType::F32);
    let weight = Tensor::<2>::from_data(data, &Device::flex());
    let (x, bias) = (Tensor::<2>::ones([3, 64], &Device::flex()), Tensor::<1>::zeros([4], &Device::flex()));
    let y = crate::linear(x, weight.clone(), bias, Products::F32);
    let numbers = (weight.clone() + 1.0).into_data();
    drop(weight.clone());
    assert!(is_mapped());
    drop(weight);
    assert!(!is_mapped());
    assert_eq!((y.dims(), numbers.shape().to_vec()), ([3, 4], vec![4, 64]));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn of_a_table_only_the_rows_are_unpacked_that_are_asked_for() {
    static UNPACKED: AtomicUsize = AtomicUsize::new(0);
    let count = |packed: &[u8], values: &mut [f32]| {
        UNPACKED.fetch_add(values.len(), Ordering::Relaxed);
        unpack(32)(packed, values);
    };
    let bytes = Bytes::from_bytes_vec(bytes(1000 * 66));
    let table = QuantisedMatrix::new(bytes, [1000, 64], (32, 33), Box::new(count)).unwrap();
    let expected = table.unpacked();
    assert_eq!(UNPACKED.swap(0, Ordering::Relaxed), 64_000);
    let data = TensorData::from_bytes(table.into_bytes(), [1000, 64], DType::F32);
    let table = Tensor::<2>::from_data(data, &Device::flex());
    let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![999_i64, 0, 7], [1, 3]), &Device::flex());
    let rows: Vec<f32> = crate::embedding(table, ids).into_data().iter().collect();
    assert_eq!(rows, [&expected[999 * 64..], &expected[..64], &expected[7 * 64..8 * 64]].concat());
    assert_eq!(UNPACKED.load(Ordering::Relaxed), 3 * 64);
}

#[test]
fn what_networks_call_takes_packed_weights() {
    let device = Device::flex();
    let tensor = |matrix: QuantisedMatrix| {
        let shape = [matrix.rows, matrix.columns];
        Tensor::<2>::from_data(TensorData::from_bytes(matrix.into_bytes(), shape, DType::F32), &device)
    };
    let unpacked = matrix([40, 64], 32).unpacked();
    let plain = Tensor::<2>::from_data(TensorData::new(unpacked.clone(), [40, 64]), &device);
    let packed = tensor(matrix([40, 64], 32));
    let x = Tensor::<3>::from_data(TensorData::new(floats(6 * 64, 3), [2, 3, 64]), &device);
    let bias = Tensor::<1>::from_data(TensorData::new(floats(40, 4), [40]), &device);
    for products in [Products::F32, Products::Bf16] {
        let y = |w: &Tensor<2>| crate::linear(x.clone(), w.clone(), bias.clone(), products).into_data();
        assert_eq!(y(&packed), y(&plain));
    }
    let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![39_i64, 0, 7, 7], [2, 2]), &device);
    for ids in [ids.clone(), ids.transpose()] {
        let rows = crate::embedding(packed.clone(), ids.clone()).into_data();
        assert_eq!(rows, crate::embedding(plain.clone(), ids).into_data());
    }
    // A constant of a graph, through which gradients pass, and a table that has one itself.
    let gradients = |w: &Tensor<2>| {
        let (w, x) = (w.clone().autodiff().require_grad(), x.clone().autodiff().require_grad());
        let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![1_i64, 2], [1, 2]), &w.device());
        let looked_up = crate::embedding(w.clone(), ids).square().sum();
        let y = crate::linear(x.clone(), w.clone(), bias.clone().autodiff(), Products::F32).square().sum();
        let loss = (y + looked_up).backward();
        (x.grad(&loss).unwrap().into_data(), w.grad(&loss).unwrap().into_data())
    };
    assert_eq!(gradients(&packed), gradients(&plain));
    assert_eq!((packed + 1.0).into_data(), (plain + 1.0).into_data());
}

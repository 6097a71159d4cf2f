//! GFLOP/s of the products in a U-Net's convolutions and linear maps, one thread; what subnormal numbers cost;
//! microseconds of Newton-Schulz iterations; and what all threads do at the sizes of Stable Diffusion.
//!
//! `cargo bench -p calotype-kernels`, with `-- large` the last alone, and with
//! `-- large 2×64` those of its lines that say so. The share is of the best that one thread reached in
//! a product whose operands stay in the first level cache.

use std::time::Instant;

use calotype_kernels::attention::{self, AttentionShape, Upstream};
use calotype_kernels::conv2d::{self, Conv2dShape};
use calotype_kernels::linear;
use calotype_kernels::memory::Buffer;
use calotype_kernels::newton_schulz::orthogonalized;
use calotype_kernels::product::{self, Columns, Product, Start, Term};
use calotype_kernels::stored::Weights;
use calotype_kernels::{Isa, Products};

/// Median seconds of a call.
fn seconds(mut f: impl FnMut()) -> f64 {
    f();
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed().as_secs_f64() < 0.3 || times.len() < 5 {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect()
}

fn main() {
    // Cargo adds flags of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if asked.first().is_none_or(|word| word != "large") {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        one.install(small);
        println!();
    }
    large(asked.get(1).map_or("", String::as_str));
}

/// The layers of Stable Diffusion 1.5 at 512×512, two pictures, with weights that are packed anew as those are that
/// find no room among the kept ones.
fn large(named: &str) {
    println!("{} threads, milliseconds (GFLOP/s)", rayon::current_num_threads());
    let isas = [Isa::best(), Isa::of(Products::Bf16)];
    let print = |name: String, flop: f64, run: &dyn Fn(Isa)| {
        if !name.contains(named) {
            return;
        }
        let cell = |isa: Isa| {
            let time = seconds(|| run(isa));
            format!("{isa:?} {:8.1} ({:.0})", 1e3 * time, 1e-9 * flop / time)
        };
        println!("{name:36} {:>28} {:>28}", cell(isas[0]), cell(isas[1]));
    };
    for (batch, size, input, output) in [
        (2, 64, 320, 320),
        (2, 64, 960, 320),
        (2, 32, 640, 640),
        (2, 32, 1920, 640),
        (2, 16, 1280, 1280),
        (2, 16, 2560, 1280),
        (2, 8, 1280, 1280),
        (1, 64, 512, 512),
        (1, 256, 256, 256),
        (1, 512, 128, 128),
    ] {
        let s = Conv2dShape::three_by_three(batch, size, [input, output], 1);
        let (x, w, b) = (numbers(batch * size * size * input), numbers(9 * input * output), numbers(output));
        let flop = 18.0 * (s.output_len() * input) as f64;
        print(format!("conv 3×3, {batch}×{size}×{size}, {input} → {output}"), flop, &|isa| {
            drop(conv2d::forward(isa, &s, &x, &w, &b));
        });
    }
    for (batch, tokens, heads, head_width) in
        [(2, 4096, 8, 40), (2, 1024, 8, 80), (2, 256, 8, 160), (1, 4096, 1, 512)]
    {
        let s = AttentionShape { queries: tokens, keys: tokens, heads, head_width, causal: false };
        let x = numbers(batch * tokens * heads * head_width);
        let flop = 4.0 * (batch * heads * tokens * tokens * head_width) as f64;
        print(format!("attention {batch}×{tokens}, {heads} heads of {head_width}"), flop, &|isa| {
            drop(attention::forward(isa, &s, &x, &x, &x, 0));
        });
    }
    for (rows, input, output) in [(8192, 320, 2560), (8192, 1280, 320), (2048, 640, 5120), (512, 1280, 10240)]
    {
        let (x, w, b) = (numbers(rows * input), numbers(input * output), numbers(output));
        let flop = 2.0 * (rows * input * output) as f64;
        print(format!("linear {rows}, {input} → {output}"), flop, &|isa| {
            drop(linear::forward_grouped(isa, &x, Weights::F32(&w), &b, input));
        });
    }
}

fn small() {
    let isa = Isa::best();
    let peak = cached_product(isa);
    println!("{isa:?}, product in the first level cache: {peak:.1} GFLOP/s\n");
    println!("{:44} {:>16} {:>16} {:>16}", "GFLOP/s (share)", "forward", "∂ input", "∂ weight");
    for (size, input, output, stride) in [
        (16, 4, 32, 1),
        (16, 32, 32, 1),
        (16, 64, 32, 1),
        (8, 64, 64, 1),
        (8, 192, 64, 1),
        (4, 128, 128, 1),
        (16, 64, 64, 2),
        (16, 96, 96, 1),
        (8, 192, 192, 1),
        (64, 320, 320, 1),
    ] {
        let batch = if size == 64 { 1 } else { 16 };
        let s = Conv2dShape::three_by_three(batch, size, [input, output], stride);
        let (x, w, b) = (numbers(batch * size * size * input), numbers(9 * input * output), numbers(output));
        let dy = numbers(s.output_len());
        let flop = 18e-9 * (s.output_len() * input) as f64;
        let row = [
            flop / seconds(|| drop(conv2d::forward(isa, &s, &x, &w, &b))),
            flop / seconds(|| drop(conv2d::backward_input(isa, &s, &dy, &w))),
            flop / seconds(|| drop(conv2d::backward_weight(isa, &s, &x, &dy))),
        ];
        print_row(&format!("conv 3×3/{stride}, {batch}×{size}×{size}, {input} → {output}"), row, peak);
    }
    for (rows, input, output) in [
        (1024, 64, 64),
        (1024, 64, 512),
        (256, 128, 1024),
        (256, 512, 128),
        (256, 576, 144),
        (1536, 128, 512),
        (1536, 512, 128),
        (4096, 96, 768),
    ] {
        let (x, w, b, dy) =
            (numbers(rows * input), numbers(input * output), numbers(output), numbers(rows * output));
        let flop = 2e-9 * (rows * input * output) as f64;
        let row = [
            flop / seconds(|| drop(linear::forward(isa, &x, &w, &b, input))),
            flop / seconds(|| drop(linear::backward_input(isa, &dy, &w, input))),
            flop / seconds(|| drop(linear::backward_weight(isa, &x, &dy, input, output))),
        ];
        print_row(&format!("linear {rows}, {input} → {output}"), row, peak);
    }
    println!();
    subnormals(isa);
    println!();
    for [rows, columns] in [[32, 288], [64, 64], [64, 576], [128, 128], [128, 512], [1024, 128], [128, 1152]]
    {
        let x = numbers(rows * columns);
        let time = seconds(|| drop(orthogonalized(isa, Buffer::copy_of(&x), rows, columns)));
        println!("Newton-Schulz, {rows} × {columns}: {:.0} µs", 1e6 * time);
    }
}

/// What a processor asks for a product with subnormal numbers, and for attention that must not make any: the time of
/// the same work, once without masked places, once with.
fn subnormals(isa: Isa) {
    let (rows, input, output) = (1024, 64, 512);
    let (x, w, b) = (numbers(rows * input), numbers(input * output), numbers(output));
    let few: Vec<f32> =
        x.iter().enumerate().map(|(i, &x)| if i % 64 == 0 { f32::MIN_POSITIVE / 4.0 } else { x }).collect();
    let [plain, with] = [&x, &few].map(|x| seconds(|| drop(linear::forward(isa, x, &w, &b, input))));
    println!("linear with 1 of 64 numbers subnormal: {:.2} times the time", with / plain);
    let [seen, masked] = [false, true].map(|causal| {
        let s = AttentionShape { queries: 24, keys: 24, heads: 4, head_width: 32, causal };
        let x = numbers(64 * s.queries * s.heads * s.head_width);
        seconds(|| drop(attention::backward(isa, &s, &x, &x, &x, Upstream { dy: &x, dp: &[] })))
    });
    println!(
        "gradients of causal attention: {:.2} times the time of attention without a mask",
        masked / seen
    );
}

fn print_row(name: &str, row: [f64; 3], peak: f64) {
    let cell = |x: f64| format!("{x:.1} ({:.0} %)", 100.0 * x / peak);
    println!("{name:44} {:>16} {:>16} {:>16}", cell(row[0]), cell(row[1]), cell(row[2]));
}

/// One register tile's rows and columns over an inner dimension of 256.
fn cached_product(isa: Isa) -> f64 {
    let (rows, columns, depth) = (if isa.lanes() == 16 { 12 } else { 6 }, 2 * isa.lanes(), 256);
    let (a, b) = (numbers(rows * depth), numbers(columns * depth));
    let mut c = vec![0.0; rows * columns];
    let product = Product {
        a_row: depth,
        a_step: 1,
        terms: &[Term { a: 0, b: 0, length: depth }],
        b: Columns::packed(isa, &b, depth),
        rows,
        columns,
        c_row: columns,
        start: Start::Zero,
    };
    let time = seconds(|| (0..1000).for_each(|_| product::run(isa, &product, &a, &mut c, &[(0, 0)])));
    2e-6 * (rows * columns * depth) as f64 / time
}

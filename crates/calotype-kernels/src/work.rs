//! Counting the arithmetic of a network, whatever way the kernels take to do it.

use std::cell::Cell;

thread_local! {
    static FLOP: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `f` and counts the floating-point operations of every convolution, linear map and attention
/// that this thread asks for: two for each multiply–add of the *definition*, also where Winograd's
/// form needs fewer. Element-wise work is not counted.
pub fn counted<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let outer = FLOP.replace(Some(0));
    let result = f();
    let flop = FLOP.replace(outer).unwrap_or(0);
    (result, flop)
}

/// `factors` multiply–adds.
pub(crate) fn add(factors: &[usize]) {
    if let Some(flop) = FLOP.get() {
        FLOP.set(Some(flop + 2 * factors.iter().map(|&n| n as u64).product::<u64>()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_inside_only() {
        add(&[5]);
        let (inner, outer) = counted(|| {
            add(&[2, 3, 4]);
            let (_, inner) = counted(|| add(&[7]));
            add(&[1]);
            inner
        });
        assert_eq!((inner, outer), (14, 50));
        assert_eq!(counted(|| ()).1, 0);
    }
}

//! Numbers as a reader wants them: few digits, a true minus sign, powers of ten as powers.

/// About four significant digits: `0.04236`, `12 480`, `3.2×10⁻⁵`.
pub(crate) fn readable(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return "not finite".into();
    }
    let exponent = decimal_exponent(value);
    if !(-4..=5).contains(&exponent) {
        return scientific(value, 3);
    }
    let decimals = (3 - exponent).max(0) as usize;
    let text = format!("{:.decimals$}", value.abs());
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{}{text}", sign(value))
}

/// `2.5×10⁻⁴` with at most `digits` digits after the point; the mantissa 1 is left out: `10⁻⁴`.
pub(crate) fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let factor = if mantissa == "1" { String::new() } else { format!("{mantissa}×") };
    format!("{}{factor}10{}", sign(value), exponent.chars().map(superscript).collect::<String>())
}

/// ⌊log₁₀ |value|⌋ of a finite value other than 0.
pub(crate) fn decimal_exponent(value: f64) -> i32 {
    // Through the decimal text, because log10 of 1000 may come out just below 3.
    let text = format!("{:e}", value.abs());
    text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0)
}

/// U+2212 for negative numbers.
pub(crate) fn sign(value: f64) -> &'static str {
    if value < 0.0 { "\u{2212}" } else { "" }
}

fn superscript(character: char) -> char {
    match character {
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        '-' => '⁻',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "\u{2212}0.5"),
            (0.042_361, "0.04236"),
            (27.314_9, "27.31"),
            (1000.0, "1000"),
            (123_456.7, "123457"),
            (3.2e-5, "3.2×10⁻⁵"),
            (1e-7, "10⁻⁷"),
            (1.5e12, "1.5×10¹²"),
            (f64::NAN, "not finite"),
        ] {
            assert_eq!(readable(value), text);
        }
    }
}

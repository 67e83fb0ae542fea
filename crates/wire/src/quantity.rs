//! Kubernetes resource quantities.
//!
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

use std::str::FromStr;

/// A quantity, exact to a billionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity {
    nano: i128,
}

/// Not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a Kubernetes quantity: expected a number with an optional suffix, such as 4, 500m, 128Gi or 3000G"
)]
pub struct QuantityError(String);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// A whole number.
    #[must_use]
    pub fn whole(value: i64) -> Self {
        Self { nano: i128::from(value) * NANO }
    }

    /// In whole units, rounded up (away from too little).
    #[must_use]
    pub fn ceil(self) -> i64 {
        self.ceil_of(NANO)
    }

    /// In thousandths, rounded up.
    #[must_use]
    pub fn milli_ceil(self) -> i64 {
        self.ceil_of(NANO / 1000)
    }

    /// In units of `unit` (for instance a MiB), rounded up.
    #[must_use]
    pub fn ceil_in(self, unit: i64) -> i64 {
        self.ceil_of(NANO * i128::from(unit.max(1)))
    }

    /// Whether it is a whole number.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.nano % NANO == 0
    }

    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// The sum, at most the largest.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { nano: self.nano.saturating_add(other.nano) }
    }

    fn ceil_of(self, unit: i128) -> i64 {
        let up = self.nano.div_euclid(unit) + i128::from(self.nano.rem_euclid(unit) != 0);
        i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX })
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError(text.chars().take(64).collect());
        let number_end = text
            .char_indices()
            .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '+' || *c == '-'))))
            .map_or(text.len(), |(i, _)| i);
        let (number, suffix) = text.split_at(number_end);
        let (multiplier, divisor) = scale(suffix).ok_or_else(wrong)?;
        let negative = number.starts_with('-');
        let digits = number.trim_start_matches(['+', '-']);
        let (int, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if int.is_empty() && fraction.is_empty() || fraction.len() > 18 || int.len() > 18 {
            return Err(wrong());
        }
        let read = |s: &str| if s.is_empty() { Ok(0) } else { s.parse::<i128>() };
        let scale10 = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let units = read(int).map_err(|_| wrong())? * scale10 + read(fraction).map_err(|_| wrong())?;
        let numerator = units.checked_mul(multiplier).and_then(|v| v.checked_mul(NANO)).ok_or_else(wrong)?;
        let below = scale10 * divisor;
        // Kubernetes rounds what is finer than a billionth up.
        let nano = numerator / below + i128::from(numerator % below != 0);
        Ok(Self { nano: if negative { -nano } else { nano } })
    }
}

/// The suffix as (multiplier, divisor).
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let decimal = |n: u32| Some((10_i128.pow(n), 1));
    let binary = |n: u32| Some((1_i128 << (10 * n), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.pow(power.unsigned_abs().min(18));
            (power.abs() <= 18).then_some(if power < 0 { (1, size) } else { (size, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("4", 4, 4000),
            ("500m", 1, 500),
            ("0.5", 1, 500),
            ("1.5", 2, 1500),
            ("128Gi", 137_438_953_472, 137_438_953_472_000),
            ("3000G", 3_000_000_000_000, 3_000_000_000_000_000),
            ("1e3", 1000, 1_000_000),
            ("100k", 100_000, 100_000_000),
            ("-2", -2, -2000),
            (".5Ki", 512, 512_000),
            ("1n", 1, 1),
        ];
        for (text, whole, milli) in cases {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!((quantity.ceil(), quantity.milli_ceil()), (whole, milli), "{text}");
        }
        for bad in ["", "abc", "1 Gi", "1GB", "1..2", "--1", "1e99", "Gi", "1_000"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_is_rounded_up_to_the_unit() {
        assert_eq!("1".parse::<Quantity>().unwrap().ceil_in(1 << 20), 1);
        assert_eq!("64Mi".parse::<Quantity>().unwrap().ceil_in(1 << 20), 64);
        assert_eq!("100M".parse::<Quantity>().unwrap().ceil_in(1 << 20), 96);
    }
}

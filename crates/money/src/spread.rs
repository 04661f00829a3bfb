/// Splits `total` over `weights` so that the parts sum to it exactly (largest remainder, rule M4).
///
/// Ties go to the lower index; a weight of zero gets nothing. When all weights are zero the first part takes it all,
/// so that no minor unit is ever lost. Weights must not be negative.
pub fn spread(total: i64, weights: &[i64]) -> Vec<i64> {
    let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if weights.is_empty() {
        return Vec::new();
    }
    if sum == 0 {
        let mut parts = vec![0; weights.len()];
        parts[0] = total;
        return parts;
    }
    let sign = if total < 0 { -1 } else { 1 };
    let magnitude = i128::from(total).abs();
    let mut parts: Vec<i128> = weights.iter().map(|weight| magnitude * i128::from(*weight) / sum).collect();
    let mut left = magnitude - parts.iter().sum::<i128>();
    let mut order: Vec<usize> = (0..weights.len()).filter(|index| weights[*index] > 0).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(magnitude * i128::from(weights[*index]) % sum), *index));
    for index in order {
        if left == 0 {
            break;
        }
        parts[index] += 1;
        left -= 1;
    }
    // Every part lies between 0 and |total|, which fits.
    parts.into_iter().map(|part| sign * i64::try_from(part).expect("a part is not above the total")).collect()
}

/// Divides and rounds half away from zero (rule M5).
///
/// # Panics
/// When `den` is not positive: rates and scales are.
pub fn div_round_half_away(num: i128, den: i128) -> i128 {
    assert!(den > 0, "denominator must be positive");
    let (quotient, rest) = (num / den, num % den);
    if rest.abs() * 2 >= den { quotient + num.signum() } else { quotient }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn leftovers_go_to_the_largest_remainder_then_the_lower_index() {
        assert_eq!(spread(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(spread(5, &[0, 3, 3]), [0, 3, 2]);
        assert_eq!(spread(-5, &[3, 3]), [-3, -2]);
        assert_eq!(spread(7, &[0, 0]), [7, 0]);
        assert_eq!(spread(7, &[]), Vec::<i64>::new());
    }

    #[test]
    fn halves_round_away_from_zero() {
        let cases = [(5, 10, 1), (-5, 10, -1), (4, 10, 0), (-4, 10, 0), (15, 10, 2), (-15, 10, -2)];
        for (num, den, rounded) in cases {
            assert_eq!(div_round_half_away(num, den), rounded, "{num}/{den}");
        }
    }

    proptest! {
        #[test]
        fn parts_always_sum_to_the_total(total in any::<i64>().prop_filter("abs", |t| *t != i64::MIN),
                                         weights in prop::collection::vec(0_i64..=i64::MAX / 64, 1..50)) {
            let parts = spread(total, &weights);
            prop_assert_eq!(parts.iter().map(|p| i128::from(*p)).sum::<i128>(), i128::from(total));
            let any_weight = weights.iter().any(|w| *w > 0);
            for (part, weight) in parts.iter().zip(&weights) {
                prop_assert!(!any_weight || *weight > 0 || *part == 0);
                prop_assert!(part.signum() * total.signum() >= 0);
            }
        }
    }
}

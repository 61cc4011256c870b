/// 26 July 2024, 00:00 UTC: the date that Llama 3's template writes where it knows none.
pub(super) const FIXED: i64 = 1_721_952_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Python's `strftime` of a time in UTC, for the directives of dates and clock times. Others
/// stay as they are.
pub(super) fn format(unix_seconds: i64, format: &str) -> String {
    let days = unix_seconds.div_euclid(86_400);
    let second = unix_seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let name = |month: i64| MONTHS[(month - 1).rem_euclid(12) as usize];
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let mut text = String::with_capacity(format.len() * 2);
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('Y') => text += &format!("{year:04}"),
            Some('y') => text += &format!("{:02}", year.rem_euclid(100)),
            Some('m') => text += &format!("{month:02}"),
            Some('B') => text += name(month),
            Some('b') => text += &name(month)[..3],
            Some('d') => text += &format!("{day:02}"),
            Some('A') => text += weekday,
            Some('a') => text += &weekday[..3],
            Some('H') => text += &format!("{:02}", second / 3600),
            Some('I') => text += &format!("{:02}", (second / 3600 + 11) % 12 + 1),
            Some('p') => text += if second < 43_200 { "AM" } else { "PM" },
            Some('M') => text += &format!("{:02}", second / 60 % 60),
            Some('S') => text += &format!("{:02}", second % 60),
            Some('%') => text.push('%'),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

/// Year, month (1 to 12) and day of a number of days since 1 January 1970, in the proleptic
/// Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_writes_them() {
        assert_eq!(format(FIXED, "%d %b %Y"), "26 Jul 2024");
        assert_eq!(
            format(951_827_696, "%A %d %B %y, %I:%M:%S %p %%"),
            "Tuesday 29 February 00, 12:34:56 PM %"
        );
        assert_eq!(format(-1, "%a %Y-%m-%d %H:%M:%S"), "Wed 1969-12-31 23:59:59");
        assert_eq!(format(0, "%q %"), "%q %");
    }
}

//! Dates in the three spellings of S3.
//!
//! Invariant: seconds since 1970 in, text out; the clock is read in one place. Any thread.

use std::time::SystemTime;

const DAY_S: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}

/// Year, month 1 to 12, day 1 to 31.
fn civil(unix_s: u64) -> (u64, u64, u64) {
    let (mut year, mut day) = (1970, unix_s / DAY_S);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, day + 1)
}

fn clock(unix_s: u64) -> (u64, u64, u64) {
    (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60)
}

/// `20260101T000000Z`
pub fn amz(unix_s: u64) -> String {
    let ((year, month, day), (hour, minute, second)) = (civil(unix_s), clock(unix_s));
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `2026-01-01T00:00:00Z`
pub fn iso(unix_s: u64) -> String {
    let ((year, month, day), (hour, minute, second)) = (civil(unix_s), clock(unix_s));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `Thu, 01 Jan 1970 00:00:00 GMT`
pub fn http(unix_s: u64) -> String {
    let ((year, month, day), (hour, minute, second)) = (civil(unix_s), clock(unix_s));
    let weekday = WEEKDAYS[(unix_s / DAY_S % 7) as usize];
    format!(
        "{weekday}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT",
        MONTHS[month as usize - 1]
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_known_second() {
        assert_eq!(super::http(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(super::amz(784_111_777), "19941106T084937Z");
        assert_eq!(super::iso(1_709_164_800), "2024-02-29T00:00:00Z");
    }
}
